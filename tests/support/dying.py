"""A training whose worker is killed, for tests; workers import it by name."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import torch

from pipeline.config.recipe import Recipe
from rdmc.data.loader import PairStore
from rdmc.training.loop import Run
from rdmc.training.report import Report
from rdmc.training.speed import Speed


class Dying(Run):
    """A training whose worker is killed at its first step, as the kernel does where memory runs out."""

    def reports(self, train: PairStore, validation: PairStore | None = None, loaders: int = 0) -> Generator[Report, None, None]:
        """Kill this process."""
        os.kill(os.getpid(), signal.SIGKILL)
        yield from ()


def dying(params: Recipe, device: torch.device, speed: Speed) -> Run:
    """Make the training that each worker runs."""
    return Dying(params.network, params.loss, params.train, params.seed, device)
