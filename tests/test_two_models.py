"""The life of two models on the default scenes, by the real commands: the gate's defaults promote, refuse and roll back.

The network is smaller and the training shorter than the defaults. The three kinds of rain, the 24 test scenes and the gate are
the defaults.
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

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(3000)]
FIRST, BETTER = 310, 1500
"""Training steps of the two models."""
SHORT = {
    "network.width": 16,
    "train.steps": FIRST,
    "train.global_batch_size": 8,
    "train.crop": 64,
    "train.warmup_steps": 10,
    "train.validate_every": 100,
    "train.ema_decay": 0.95,
}
LEARNED_FROM = ("coffee", "rocket", *(f"street-{number:02d}" for number in range(70)))
VALIDATED = ("street-72",)
DATASETS = ("light", "heavy", "wild")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the default datasets and gate, few training photographs and all test photographs."""
    tested = tuple(photo.name for photo in PHOTOS if photo.split == "test")
    assert len(tested) == 24
    datasets = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["datasets"]
    assert tuple(datasets) == DATASETS
    return make_project(tmp_path / "project", SHORT, (*LEARNED_FROM, *VALIDATED, *tested), datasets, base={})


def pipeline(root: Path, *arguments: str, code: int = 0) -> str:
    """Run a command of the pipeline and return its output on one line with single spaces, since tables pad and wrap.

    ``pytest -s`` shows the output as it was.
    """
    done = run(root, "python", "-m", "pipeline", *arguments, code=code)
    print(f"$ python -m pipeline {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return " ".join((done.stdout + done.stderr).split())


def results(client: MlflowClient, version: str) -> dict[str, Any]:
    """The gate's rules in a version's last verdict, by name."""
    found = client.get_model_version("rdmc", version)
    file = client.download_artifacts(str(found.run_id), f"{found.tags['verdict_artifact']}/verdict.json")
    return {check["name"]: check for check in json.loads(Path(file).read_text())["checks"]}


def number(client: MlflowClient, alias: str) -> int:
    """The version that has the alias."""
    return int(client.get_model_version_by_alias("rdmc", alias).version)


def test_the_life_of_two_models(project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    run(project, "dvc", "repro")
    shown = pipeline(project, "promote", "candidate")
    assert "version 1 against rainy input: 72 images of 24 scenes" in shown
    assert "models:/rdmc@champion is version 1 now, before: none" in shown

    params = project / "params.yaml"
    shorter = params.read_text()
    assert shorter.count(f" steps: {FIRST}\n") == 1
    params.write_text(shorter.replace(f" steps: {FIRST}\n", f" steps: {BETTER}\n"))
    run(project, "dvc", "repro")
    shown = pipeline(project, "promote", "candidate")
    assert "version 2 against version 1: 72 images of 24 scenes" in shown
    assert "models:/rdmc@champion is version 2 now, before: 1" in shown
    found = results(client, "2")
    assert found["overall"]["low"] >= 0.1
    for name in DATASETS:
        assert found[f"dataset {name}"]["low"] >= -0.2, "each dataset has enough scenes for a bound"

    run(project, "dvc", "repro", "--force", "--single-item", "train")
    assert "Running stage 'evaluate'" not in run(project, "dvc", "repro").stdout, "the same weights"
    assert len(client.search_model_versions("name='rdmc'")) == 2, "equal weights and data are not registered twice"
    assert "models:/rdmc/2 is the champion already" in pipeline(project, "promote", "candidate")

    shown = pipeline(project, "rollback", "--reason", "it rained")
    assert "models:/rdmc@champion is version 1 again, before: 2" in shown
    assert (number(client, "champion"), number(client, "candidate")) == (1, 2)
    pipeline(project, "models")
    shown = pipeline(project, "promote", "candidate", code=3)
    assert "rolled back on" in shown
    assert [name for name, check in results(client, "2").items() if not check["passed"]] == ["standing"]
    assert "models:/rdmc/2 was refused on" in pipeline(project, "promote", "candidate", code=3), "it is not judged again"
    pipeline(project, "history")
    entries = json.loads(run(project, "python", "-m", "pipeline", "history", "--json").stdout)
    assert [(entry["kind"], entry["before"], entry["after"]) for entry in entries] == [
        ("promote", 0, 1),
        ("promote", 1, 2),
        ("rollback", 2, 1),
        ("refuse", 1, 2),
    ]
    assert all(entry["verdict"] for entry in (entries[0], entries[1], entries[3])), "each decision has its reason"
    assert entries[2]["why"] == "it rained"
