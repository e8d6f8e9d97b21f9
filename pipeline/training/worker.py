"""What a training worker does, whoever started it: the data, the run, its reports."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.datasets import fetch_dataset, shard_fetch
from rdmc.data.loader import PairStore
from rdmc.training.loop import Report, Run

Row = dict[str, float]
Make = Callable[[Params, torch.device], Run]


def training(params: Params, device: torch.device) -> Run:
    """The training that ``params`` describe."""
    return Run(params.network, params.loss, params.train, params.seed, device)


@dataclass
class Work:
    """One worker's part of a training."""

    params: Params
    run: Run
    train: PairStore
    validation: PairStore
    loaders: int

    @classmethod
    def open(cls, params: Params, settings: Settings, workspace: Paths, device: torch.device, make: Make) -> Work:
        """Open the data, wherever they lie, and make the run."""
        warnings.filterwarnings("ignore", module="torch")
        folders = [fetch_dataset(settings, workspace, dataset) for dataset in params.datasets]
        fetch = shard_fetch(settings, workspace)
        train = PairStore(folders, "train", settings.cache_mb, fetch=fetch)
        validation = PairStore(folders, "validation", settings.cache_mb, allow_empty=True, fetch=fetch)
        return cls(params, make(params, device), train, validation, settings.loaders)

    def reports(self) -> Iterator[Report]:
        """Train on from where the run is."""
        return self.run.reports(self.train, self.validation, self.loaders)

    def save(self, folder: Path, report: Report) -> None:
        """Write the checkpoint of a report."""
        facts = {"seed": self.params.seed, "data": self.train.digest, "datasets": list(self.params.datasets)}
        self.run.save(folder, {**facts, "validation": report.validation or {}})
