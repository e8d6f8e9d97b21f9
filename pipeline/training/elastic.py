"""How many workers a training has where the number may vary (``RDMC_MIN_WORKERS``): as many as there is room for.

Ray Train starts the workers again from the last checkpoint when their number changes. Every step has the same batch for any
number of workers, so the results are equal up to rounding, which grows.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.train.v2._internal.execution.controller.state import RunningState
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision, ScalingDecision
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy, ReservedResources
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState
from ray.train.v2.api.config import ScalingConfig

from pipeline.training.controller import SETTLING


class Divisors(ElasticScalingPolicy):
    """Ray's rule for a number that varies, with three changes.

    The number divides the batch. It is no more than what is free: Ray's rule counts all of the cluster, also what others use.
    Where there is no room for the fewest workers, they are asked for all the same: the start of workers says what is missing
    and ends the training at its limit (``controller.Waiting``), while Ray would wait in silence.
    """

    def __init__(self, scaling_config: ScalingConfig, batch: int) -> None:
        super().__init__(scaling_config)
        self.batch = batch
        self.since: float | None = None
        """When there was first less room than Ray's rule sees; None while the workers run."""

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Forget a lack of room when the workers run: a later death is followed by a wait of its own."""
        if isinstance(current_state, RunningState):
            self.since = None

    def _count_possible_workers(self, reserved_resources: ReservedResources) -> int:
        return divisor(self.batch, super()._count_possible_workers(reserved_resources))

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """How many workers to start now."""
        decision, now, free = super().make_decision_for_non_running_worker_group(), time.monotonic(), self._free()
        wanted = decision.num_workers if isinstance(decision, ResizeDecision) else 0
        if 0 < wanted <= free:
            self.since = None
            return decision
        self.since = self.since or now
        if now - self.since <= SETTLING:  # workers that have just died, and a cluster that has not answered yet
            return NoopDecision()
        return self._get_resize_decision(max(divisor(self.batch, min(wanted, free)), self.scaling_config.min_workers))

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        """Whether to start the workers again in another number."""
        decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
        has = worker_group_state.num_workers
        if not isinstance(decision, ResizeDecision) or decision.num_workers <= has:
            return decision
        count = divisor(self.batch, min(decision.num_workers, has + self._free()))
        return self._get_resize_decision(count) if count > has else NoopDecision()

    def _free(self) -> int:
        """For how many workers the cluster has free resources."""
        free = ray.available_resources()
        return int(
            min(free.get(name, 0.0) // amount for name, amount in self.scaling_config._resources_per_worker_not_none.items())
        )


def divisor(batch: int, most: int) -> int:
    """Return the largest divisor of ``batch`` that is not above ``most``; 0 where ``most`` is."""
    return next((count for count in range(min(most, batch), 0, -1) if batch % count == 0), 0)
