"""The work of one training worker, for Ray Train and for trials: open the data, make the run, save its checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.storage.datasets import open_pairs
from rdmc.data.loader import PairStore
from rdmc.training.loop import Run
from rdmc.training.report import Report
from rdmc.training.speed import USUAL, Speed

Row = dict[str, float]
"""The figures of one report, by name."""
MakeRun = Callable[[Recipe, torch.device, Speed], Run]


def training(params: Recipe, device: torch.device, speed: Speed = USUAL) -> Run:
    """Return the training that ``params`` describe, at its first step."""
    return Run(params.network, params.loss, params.train, params.seed, device, speed)


@dataclass
class Work:
    """One worker's part of a training: its run and its data."""

    project: Project[Recipe]
    run: Run
    train: PairStore
    validation: PairStore

    @classmethod
    def open(cls, project: Project[Recipe], device: torch.device, make: MakeRun) -> Work:
        """Open the data, on disk or in the bucket, and make the run. Raises the errors of ``open_pairs`` and ``make``."""
        warnings.filterwarnings("ignore", module="torch")
        train, validation = open_pairs(project, "train"), open_pairs(project, "validation", allow_empty=True)
        speed = Speed(compile=project.settings.compile)
        return cls(project, make(project.params, device, speed), train, validation)

    def reports(self) -> Iterator[Report]:
        """Train from the step that the run has reached and yield its reports."""
        return self.run.reports(self.train, self.validation, self.project.settings.loaders)

    def save(self, folder: Path, report: Report) -> None:
        """Write a checkpoint into an existing folder, with the report's validation figures among its facts."""
        params = self.project.params
        facts = {"seed": params.seed, "data": self.train.digest, "datasets": list(params.datasets)}
        self.run.save(folder, {**facts, "validation": report.validation or {}})
