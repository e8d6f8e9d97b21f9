"""What a training worker does, whether Ray Train or a trial started it: open the data, make the run, save its reports."""

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
from rdmc.training.loop import Report, Run

Row = dict[str, float]
"""The figures of one report, by name."""
MakeRun = Callable[[Recipe, torch.device], Run]


def training(params: Recipe, device: torch.device) -> Run:
    """The training that ``params`` describe."""
    return Run(params.network, params.loss, params.train, params.seed, device)


@dataclass
class Work:
    """One worker's part of a training."""

    project: Project[Recipe]
    run: Run
    train: PairStore
    validation: PairStore

    @classmethod
    def open(cls, project: Project[Recipe], device: torch.device, make: MakeRun) -> Work:
        """Open the data, wherever they lie, and make the run. Raises what ``open_pairs`` and ``make`` raise."""
        warnings.filterwarnings("ignore", module="torch")
        train, validation = open_pairs(project, "train"), open_pairs(project, "validation", allow_empty=True)
        return cls(project, make(project.params, device), train, validation)

    def reports(self) -> Iterator[Report]:
        """Train from the step that the run has reached."""
        return self.run.reports(self.train, self.validation, self.project.settings.loaders)

    def save(self, folder: Path, report: Report) -> None:
        """Write the checkpoint of a report into an existing folder."""
        params = self.project.params
        facts = {"seed": params.seed, "data": self.train.digest, "datasets": list(params.datasets)}
        self.run.save(folder, {**facts, "validation": report.validation or {}})
