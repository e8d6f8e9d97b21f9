"""Trainings that fail in their workers, for tests; workers import them by name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import torch
import torch.distributed

from pipeline.config.recipe import Recipe
from rdmc.data.loader import PairStore
from rdmc.errors import DataError, TrainingError
from rdmc.training.loop import Run
from rdmc.training.report import Report
from rdmc.training.speed import Speed
from tests.support.waiting import until

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray's note of the checkpoints that it has stored."""


def _until(met: Callable[[], object]) -> None:
    """Wait until a condition holds. Raises TrainingError after ``PATIENCE``: Ray starts workers with another error again."""
    try:
        until(met)
    except AssertionError as error:
        raise TrainingError(str(error)) from None


class Dying(Run):
    """A training whose worker is killed at its first step, as the kernel does where memory runs out."""

    def reports(self, train: PairStore, validation: PairStore | None = None, loaders: int = 0) -> Generator[Report, None, None]:
        """Kill this process."""
        os.kill(os.getpid(), signal.SIGKILL)
        yield from ()


def dying(params: Recipe, device: torch.device, speed: Speed) -> Run:
    """Make the training that each worker runs."""
    return Dying(params.network, params.loss, params.train, params.seed, device)


class DyingOnce(Run):
    """A training whose worker 1 is killed after the first checkpoint is stored in ``place``, but only once."""

    place: Path

    def reports(self, train: PairStore, validation: PairStore | None = None, loaders: int = 0) -> Generator[Report, None, None]:
        """Yield reports and kill worker 1 after the first."""
        for report in super().reports(train, validation, loaders):
            yield report
            mark = self.place / "killed"
            if torch.distributed.get_rank() == 1 and not mark.exists():
                _until((self.place / SNAPSHOT).exists)
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


def dying_once(place: str, params: Recipe, device: torch.device, speed: Speed) -> Run:
    """Make the training that each worker runs; ``place`` is its folder in Ray's storage."""
    run = DyingOnce(params.network, params.loss, params.train, params.seed, device)
    run.place = Path(place)
    return run


def damaged(starts: str, params: Recipe, device: torch.device, speed: Speed) -> Run:
    """Raise DataError, after a line in the file ``starts``."""
    with Path(starts).open("a") as file:
        file.write("started\n")
    raise DataError("light-0.tar: damaged; run `dvc repro pack`")


class Leaving(Run):
    """A training that waits at its first report until Ray says that a node leaves, and at its second until it is ended."""

    place: Path

    def reports(self, train: PairStore, validation: PairStore | None = None, loaders: int = 0) -> Generator[Report, None, None]:
        """Yield reports; the first attempt marks in ``place`` that it waits, and ends with its second report."""
        from ray.train.v2._internal.execution.context import get_train_context

        again = (self.place / "waits").exists()
        for count, report in enumerate(super().reports(train, validation, loaders)):
            if not again and count == 0:
                (self.place / str(os.getpid())).touch()
                if len(list(self.place.iterdir())) > 1:
                    (self.place / "waits").touch()
                _until(lambda: get_train_context().preemption_context.preemption_info is not None)
            if not again and count == 1:
                _until(lambda: False)
            yield report


def leaving(place: str, params: Recipe, device: torch.device, speed: Speed) -> Run:
    """Make the training that each worker runs."""
    run = Leaving(params.network, params.loss, params.train, params.seed, device)
    run.place = Path(place)
    return run


class Marked(Run):
    """A training that marks in ``place`` which step it has reached. It begins when ``place`` holds a file ``begin``."""

    place: Path

    def reports(self, train: PairStore, validation: PairStore | None = None, loaders: int = 0) -> Generator[Report, None, None]:
        """Yield reports; a file has the number of each one's step."""
        (self.place / "ready").touch()
        _until((self.place / "begin").exists)
        for report in super().reports(train, validation, loaders):
            (self.place / str(report.step)).touch()
            yield report


def marked(place: str, params: Recipe, device: torch.device, speed: Speed) -> Run:
    """Make the training that each worker runs."""
    run = Marked(params.network, params.loss, params.train, params.seed, device)
    run.place = Path(place)
    return run
