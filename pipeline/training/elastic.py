"""How many workers a training has where the number may vary (``RDMC_MIN_WORKERS``): as many as there is room for.

Ray Train starts the workers again from the last checkpoint when their number changes. Every step has the same batch for any
number of workers, so the results are equal up to rounding, which grows.
"""

from __future__ import annotations

import time

from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ScalingDecision
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy, ReservedResources
from ray.train.v2.api.config import ScalingConfig

from pipeline.training.controller import SETTLING


class Divisors(ElasticScalingPolicy):
    """Ray's rule for a number that varies, with two changes.

    The number divides the batch. Where there is no room for the fewest workers, they are asked for all the same: the start of
    workers says what is missing and ends the training at its limit (``controller.Waiting``), while Ray would wait in silence.
    """

    def __init__(self, scaling_config: ScalingConfig, batch: int) -> None:
        super().__init__(scaling_config)
        self.batch = batch
        self.since: float | None = None
        """When it was first without room."""

    def _count_possible_workers(self, reserved_resources: ReservedResources) -> int:
        return divisor(self.batch, super()._count_possible_workers(reserved_resources))

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """How many workers to start now."""
        decision, now = super().make_decision_for_non_running_worker_group(), time.monotonic()
        if not isinstance(decision, NoopDecision):
            self.since = None
            return decision
        self.since = self.since or now
        return self._get_resize_decision(self.scaling_config.min_workers) if now - self.since > SETTLING else decision


def divisor(batch: int, most: int) -> int:
    """Return the largest divisor of ``batch`` that is not above ``most``; 0 where ``most`` is."""
    return next((count for count in range(min(most, batch), 0, -1) if batch % count == 0), 0)
