"""The life of two models on the default data, by the real commands: the gate's defaults promote, refuse and roll back.

The network is smaller and the training shorter than the defaults. The 24 test scenes and the gate are the defaults.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from rdmc.datasets.embedded import PHOTOS
from tests.support.imports import ROOT
from tests.support.project import make_project, run

pytestmark = pytest.mark.slow
SHORT = {
    "network.width": 8,
    "train.steps": 20,
    "train.global_batch_size": 8,
    "train.crop": 48,
    "train.warmup_steps": 10,
    "train.validate_every": 100,
    "train.ema_decay": 0.9,
}
LEARNED_FROM = ("coffee", "rocket", *(f"street-{number:02d}" for number in range(0, 60, 6)))
VALIDATED = ("street-72",)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the default datasets and gate, few training photographs and all test photographs."""
    tested = tuple(photo.name for photo in PHOTOS if photo.split == "test")
    assert len(tested) == 24
    datasets = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["datasets"]
    return make_project(tmp_path / "project", SHORT, (*LEARNED_FROM, *VALIDATED, *tested), datasets, base={})


def pipeline(root: Path, *arguments: str, code: int = 0) -> str:
    """Run a command of the pipeline and return what it shows, with single spaces, since tables pad and wrap."""
    done = run(root, "python", "-m", "pipeline", *arguments, code=code)
    print(done.stdout, done.stderr)
    return " ".join((done.stdout + done.stderr).split())


def checks(client: MlflowClient, version: str) -> dict[str, Any]:
    """The results of the gate's rules in a version's last verdict, by name."""
    found = client.get_model_version("rdmc", version)
    file = client.download_artifacts(str(found.run_id), f"{found.tags['verdict_artifact']}/verdict.json")
    return {check["name"]: check for check in json.loads(Path(file).read_text())["checks"]}


def test_the_life_of_two_models(project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    run(project, "dvc", "repro")
    shown = pipeline(project, "promote", "candidate")
    assert "version 1 against rainy input: 72 images of 24 scenes" in shown
    assert "models:/rdmc@champion is version 1 now, before: none" in shown

    params = project / "params.yaml"
    params.write_text(params.read_text().replace("steps: 20\n", "steps: 300\n", 1))
    run(project, "dvc", "repro")
    shown = pipeline(project, "promote", "candidate")
    assert "version 2 against version 1: 72 images of 24 scenes" in shown
    assert "models:/rdmc@champion is version 2 now, before: 1" in shown
    held = checks(client, "2")
    assert held["overall"]["low"] >= 0.1
    for name in ("light", "heavy", "wild"):
        assert held[f"dataset {name}"]["low"] >= -0.2, "each dataset has scenes enough for a bound"

    run(project, "dvc", "repro", "--force", "--single-item", "train")
    run(project, "dvc", "repro")
    shown = pipeline(project, "promote", "candidate", code=3)
    print(pipeline(project, "models"))
    print(pipeline(project, "rollback", "--reason", "it rained"))
    print(pipeline(project, "history"))
    print(pipeline(project, "history", "--json"))
