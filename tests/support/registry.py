"""Versions in a model registry, without models for what only moves them, and with models of known worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.stages import evaluate, register
from rdmc.checkpoint import write_model
from rdmc.files import new_folder, write_text
from rdmc.models.rdmc import RDMC, RDMCConfig
from tests.support.data import make_dataset

KNOWN = {"git_commit": "a" * 40, "git_dirty": "false", "dvc.data/shards/light": "1.dir", "dvc.data/shards/heavy": "2.dir"}
EASY = {"gate.min_scenes": 6, "gate.margin": 0.0, "gate.tolerance": 0.4, "gate.clean": 35.0, "gate.resamples": 300}
"""Rules for the six scenes below."""


def add_versions(client: MlflowClient, model: str, count: int) -> None:
    """Register ``count`` versions, each of a run of its own."""
    client.create_registered_model(model)
    for _ in range(count):
        run = client.create_run("0")
        client.create_model_version(model, run.info.artifact_uri, run.info.run_id, await_creation_for=0)


def register_shifts(
    workspace: Paths, params: Params, client: MlflowClient, levels: Sequence[float], patch: pytest.MonkeyPatch
) -> None:
    """Register a version for each of ``levels``: a network that adds so much (of 255) to every pixel.

    Rain brightens, so a little less is better than nothing. The test images are six scenes in two kinds of rain.
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
