"""What Ray Train's controller does for this project: it writes a journal, ends what cannot heal, and says what it waits for.

The controller is a process on the driver's node, so the driver can read the journal: a file with an object of JSON per line.
That is the report of a step, ``{"said": …}``, a line for the terminal, or ``{"restarted": …}``, why the workers start again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.train
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import PreemptingState, RestartingState
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.exceptions import PreemptionError, TrainingFailedError

from pipeline.storage.outage import OutageError
from rdmc.errors import RdmcError, ServiceError, TrainingError, one_line

RETRIES = 2
"""How often a training resumes after its workers died or failed."""
MINUTE = 60.0
"""Most seconds between two lines that say what a training waits for."""
SETTLING = 3.0
"""Seconds in which the resources of workers that have just died may still count as taken."""
SAID = "said"
"""The key of a line for the terminal."""
RESTARTED = "restarted"
"""The key of the cause of a restart: ``failure`` or ``preemption``."""
KILLED = (
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.ActorDiedError,
    ray.exceptions.NodeDiedError,
)
"""What Ray raises for a worker whose process ended without an exception."""


class Journal(UserCallback):
    """Appends each report to the journal, and a line for each worker that dies.

    An error that cannot heal is raised again. Ray then ends the training, where it would otherwise start it again: an error of
    a callback is not retried.
    """

    def __init__(self, path: Path, saved: int | None = None) -> None:
        self.path = str(path)
        self.saved = saved
        """The step of the last checkpoint; None without one."""
        self.failures = 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: ray.train.Checkpoint | None) -> None:
        """Append rank 0's figures, which are the same on every rank."""
        if checkpoint is not None:
            self.saved = int(metrics[0]["step"])
        _append(self.path, metrics[0])

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Raise an error that cannot heal; for others, append what happened and from where the training resumes."""
        causes = {rank: root_cause(error) for rank, error in worker_exceptions.items()}
        for cause in causes.values():
            if is_final(cause):
                raise cause
        self.failures += not any(getattr(cause, "preempted", False) for cause in causes.values())
        if self.failures <= RETRIES:  # Ray does not count preemptions; with one more, the driver says why the training ended
            start = "it starts again" if self.saved is None else f"resumes from step {self.saved}"
            _append(self.path, {SAID: f"{what_happened(causes)}; {start}"})


class Restarts(ControllerCallback):
    """Appends why the workers start again, and a line where a node leaves: the workers have saved a checkpoint by then."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Append a line for a node that is to leave, and one for a restart."""
        if isinstance(current_state, PreemptingState) and not isinstance(previous_state, PreemptingState):
            ranks = ", ".join(map(str, current_state.preemption_info.preempted_ranks))
            _append(
                self.path, {SAID: f"the node of worker {ranks} leaves the cluster; a checkpoint is saved with the next report"}
            )
        if isinstance(current_state, RestartingState):
            preempted = is_preemption(current_state.training_failed_error)
            _append(self.path, {RESTARTED: "preemption" if preempted else "failure"})
            if isinstance(current_state.training_failed_error, PreemptionError):
                _append(self.path, {SAID: "the node has left; the training resumes from its last checkpoint on other nodes"})


class Waiting(WorkerGroupCallback):
    """Says what the training waits for when the cluster has no room for its workers, and ends it after ``limit`` seconds.

    Ray asks for the room again and again, ``interval(limit)`` seconds each time. It never gives up by itself. ``varies``: also
    say with how many workers the training begins or goes on.
    """

    def __init__(self, path: Path, limit: float, varies: bool = False) -> None:
        self.path, self.limit, self.varies = str(path), limit, varies
        self.count = 0
        """The number of workers that are started."""
        self.since: float | None = None
        self.lack = ""

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        """Append a line if the room is missing now, or was missing until now."""
        each, count = worker_group_context.resources_per_worker, worker_group_context.num_workers
        waits, begun = self.since is not None, time.monotonic()
        self.since, self.count = self.since or begun, count
        while (lack := lacking(each, count, ray.available_resources())) and not waits:
            time.sleep(0.1)
            waits = time.monotonic() - begun > SETTLING
        self.lack = lack or f"room for {count} workers"  # as much may be free in pieces that are too small
        if waits:
            _append(self.path, {SAID: f"waiting for {self.lack}"})

    @contextmanager
    def on_worker_group_start(self) -> Iterator[None]:
        """Raise TrainingError where the room is still missing at the limit. A start by Ray ends the waiting."""
        try:
            yield
        except WorkerGroupStartupTimeoutError:
            waited = time.monotonic() - (self.since or 0)
            if waited < self.limit:
                raise
            raise TrainingError(
                f"RDMC_WAIT: waited {waited:.0f} s for {self.lack}; end another job, add nodes, set fewer RDMC_WORKERS, "
                "or raise RDMC_WAIT"
            ) from None
        self.since = None
        if self.varies:
            _append(self.path, {SAID: f"{self.count} {'workers train' if self.count > 1 else 'worker trains'} now"})


def interval(limit: float) -> float:
    """Seconds of each of the equal intervals, a minute at most, in which ``limit`` seconds are waited."""
    return limit / math.ceil(limit / MINUTE)


def lacking(each: Mapping[str, float], count: int, free: Mapping[str, float]) -> str:
    """The resources that ``count`` workers need and the cluster has not free, in words; empty if it has them."""
    lacks = ((name, count * amount, free.get(name, 0.0)) for name, amount in each.items())
    return " and ".join(
        f"{need:g} {name}{'s' if need != 1 else ''}, the cluster has {have:g} free" for name, need, have in lacks if have < need
    )


def is_final(cause: BaseException) -> bool:
    """Whether an error stays the same however often the training starts again.

    A service may come back, unless the training has waited for it already.
    """
    return isinstance(cause, OutageError) or (isinstance(cause, RdmcError) and not isinstance(cause, ServiceError))


def is_preemption(error: TrainingFailedError) -> bool:
    """Whether workers were lost because their node was taken away, announced or not."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    return isinstance(error, PreemptionError) or any(getattr(root_cause(one), "preempted", False) for one in failures.values())


def what_happened(causes: Mapping[int, BaseException]) -> str:
    """Which worker died or failed, and why, in words. Others, which only lost their connection to it, are not named."""
    gone = (*KILLED, ray.exceptions.ActorUnavailableError)
    dead = {rank: cause for rank, cause in causes.items() if isinstance(cause, gone)}
    rank, cause = next(iter((dead or causes).items()))
    if not dead:
        return f"worker {rank} failed ({one_line(cause)})"
    lost = isinstance(cause, ray.exceptions.NodeDiedError) or "node has died" in str(cause)
    cut = isinstance(cause, ray.exceptions.ActorUnavailableError)
    why = "it no longer answers" if cut else "its node was lost" if lost else "killed, most often because memory ran out"
    return f"{'worker' if len(dead) == 1 else 'workers'} {', '.join(map(str, dead))} died ({why})"


def root_cause(error: BaseException) -> BaseException:
    """The exception inside all of Ray's wrappers; ``error`` itself where there is none."""
    for name in ("_base_exc", "controller_failure", "health_check_failure", "cause", "__cause__"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException) and inner is not error:
            return root_cause(inner)
    return error


def _append(path: str, line: Mapping[str, Any]) -> None:
    with Path(path).open("a") as file:
        file.write(json.dumps(line) + "\n")
