"""Versions in a model registry: without models for tests that only move them, and with models of known quality."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_overrides
from pipeline.config.settings import Settings
from pipeline.promotion import promote
from pipeline.promotion.champion import read_log
from pipeline.registry.client import registry
from pipeline.registry.versions import Version, known_aliases
from pipeline.stages import evaluate, register
from rdmc.checkpoint import write_model
from rdmc.files import new_folder, write_text
from rdmc.models.rdmc import RDMC, RDMCConfig
from tests.support.data import make_dataset

KNOWN = {"git_commit": "a" * 40, "git_dirty": "false", "dvc.data/shards/light": "1.dir", "dvc.data/shards/heavy": "2.dir"}
EASY = {"gate.min_scenes": 6, "gate.margin": 0.0, "gate.tolerance": 0.4, "gate.clean": 35.0, "gate.resamples": 300}
"""Overrides of the gate's rules that suit the six scenes of ``register_shifts``."""


@dataclass(frozen=True)
class PromotionStore:
    """The working folder and its store, with versions 1 to 3 of ``rdmc``: good, worse than the rainy input, and the best."""

    workspace: Paths
    client: MlflowClient
    params: Params

    @property
    def project(self) -> Project[Params]:
        return Project(self.params, Settings(), self.workspace)

    def champion(self) -> int:
        """Version number that the alias ``champion`` has; 0 for none."""
        return known_aliases(self.client, "rdmc").get("champion", 0)

    def tag(self, version: str, name: str = "verdict") -> str:
        return str(self.client.get_model_version("rdmc", version).tags.get(name, ""))

    def document(self, version: str) -> Path:
        """A folder with the files of a version's last verdict."""
        run = self.client.get_model_version("rdmc", version).run_id
        return Path(self.client.download_artifacts(str(run), self.tag(version, "verdict_artifact")))

    def entries(self) -> int:
        """The number of entries in the log."""
        with registry(Settings()) as client:
            return len(read_log(client, self.params.register_).entries)

    def promote(self, version: str, *, force: bool = False, reason: str = "", **rules: object) -> bool:
        """Run ``promote`` with changes to the gate's rules."""
        params = with_overrides(self.params, {f"gate.{name}": value for name, value in rules.items()})
        return promote.run(Project(params, Settings(), self.workspace), version, force, reason)


def make_version(number: int, tags: Mapping[str, str] | None = None, run_id: str = "run") -> Version:
    """A version of ``rdmc`` that is in no registry."""
    return Version("rdmc", number, (), run_id, 0, dict(tags or {}), "", f"models:/m-{number}")


def add_versions(client: MlflowClient, model: str, count: int) -> None:
    """Register ``count`` versions, each with its own run and without a model."""
    client.create_registered_model(model)
    for _ in range(count):
        run = client.create_run("0")
        client.create_model_version(model, run.info.artifact_uri, run.info.run_id, await_creation_for=0)


@contextmanager
def registered_project(
    root: Path, store: Path, make_workspace: Callable[..., Paths], params: Params, levels: Sequence[float]
) -> Iterator[PromotionStore]:
    """Make a project in ``root`` that has registered ``levels`` (``register_shifts``); the working folder within the block.

    ``store`` is an empty one, to copy. MLflow keeps databases open by their address, so that of the copy is absolute.
    """
    shutil.copy(store, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{root / 'mlflow.db'}")
        made = PromotionStore(make_workspace(Path()), MlflowClient(uri, uri), with_overrides(params, EASY))
        register_shifts(made.workspace, params, made.client, levels, patch)
        yield made


def register_shifts(
    workspace: Paths, params: Params, client: MlflowClient, levels: Sequence[float], patch: pytest.MonkeyPatch
) -> None:
    """Register a version for each of ``levels``: a network that adds this many levels of 255 to every pixel.

    Rain makes an image brighter, so removing a little brightness improves it. The test images are six scenes in two kinds of
    rain.
    """
    patch.setattr(register, "lineage", lambda: dict(KNOWN))
    write_text(workspace.leaks, json.dumps({"version": 1, "leaks": []}))
    for name in ("light", "heavy"):
        make_dataset(workspace, name, {"train": 2, "validation": 1, "test": 6})
    for number, level in enumerate(levels, 1):
        _write_shift(workspace.best, level)
        evaluate.run(Project(params, Settings(), workspace))
        register.run(Project(params, Settings(), workspace))
        client.set_model_version_tag("rdmc", str(number), "code", "committed")  # no git here


def _write_shift(folder: Path, levels: float) -> None:
    network = RDMC(RDMCConfig(width=2, passes=1, stem=2))
    weights = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    weights["head.bias"] += levels / 255
    with new_folder(folder) as new:
        write_model(new, network.config, weights, {"step": 200})
