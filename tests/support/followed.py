"""A model registry in a SQLite store with two small models, for tests that follow an alias."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from mlflow import MlflowClient

from pipeline.config.settings import Settings
from pipeline.registry.client import registry
from pipeline.registry.publish import add_version, log_model, open_run
from rdmc.checkpoint import WEIGHTS, write_model
from rdmc.files import file_digest
from rdmc.models.rdmc import RDMC, RDMCConfig


@dataclass(frozen=True)
class Registry:
    """The store that the environment names, with versions 1 and 2 of ``rain`` from ``folders``."""

    client: MlflowClient
    uri: str
    folders: list[Path]

    def add(self, folder: Path) -> int:
        """Register a model folder. Returns its version."""
        tags = {"model_sha256": file_digest(folder / WEIGHTS)}
        with registry(Settings()) as client:
            run_id = open_run(client, Settings(), None, "train", folder.name)
            return add_version(client, "rain", run_id, log_model(client, run_id, "rain", folder, 0), tags, "").version

    def files(self, version: int) -> Path:
        """The folder in which the store keeps a version's model."""
        source = self.client.get_model_version("rain", str(version)).source
        logged = self.client.get_logged_model(str(source).removeprefix("models:/"))
        return next(Path(logged.artifact_location.removeprefix("file://")).rglob(WEIGHTS)).parent

    def promote(self, version: int) -> None:
        """Move the alias ``champion``."""
        self.client.set_registered_model_alias("rain", "champion", str(version))


def write_small(folder: Path, seed: int) -> Path:
    """A small model folder with weights of ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RDMC(RDMCConfig(width=2, passes=1, stem=2))
        torch.nn.init.normal_(network.head.weight, std=0.5)  # models that differ on every image
    folder.mkdir(parents=True)
    write_model(folder, network.config, network.state_dict(), {"step": seed})
    return folder


def spoil(path: Path) -> None:
    """Change one bit of a weight in a file, which can still be loaded."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
