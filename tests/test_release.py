"""``release`` makes a champion from a commit and ``rebuild`` a project from a version, at toy size in a clone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.project import make_project, run

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a gate that no toy model passes."""
    return make_project(tmp_path / "project", {"gate.margin": 50.0})


def pipeline(root: Path, *arguments: str, code: int = 0) -> str:
    done = run(root, "python", "-m", "pipeline", *arguments, code=code)
    return done.stdout + done.stderr


def test_release_and_rebuild(project: Path, tmp_path: Path) -> None:
    shown = pipeline(project, "release", code=3)
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    tags = client.get_model_version("rdmc", "1").tags
    assert tags["code"] == "committed"
    assert tags["leaks"] == "0"
    assert "models:/rdmc/1 is not promoted" in shown
    assert "models:/rdmc/1 was refused on" in pipeline(project, "release", code=3), "it is not judged again"
    pipeline(project, "promote", "1", "--force", "--reason", "a toy")
    assert "nothing to promote" in pipeline(project, "release")

    metrics = json.loads((project / "metrics/evaluate.json").read_text())
    training, params = project / "rdmc/training/loop.py", project / "params.yaml"
    training.write_text(training.read_text() + "# touched\n")  # code that is in no commit
    assert params.read_text().count("  lr: 2e-3\n") == 1
    params.write_text(params.read_text().replace("  lr: 2e-3\n", "  lr: 3e-3\n"))  # equal weights would be version 1
    pipeline(project, "release", code=3)
    assert "its code is not in the commit: rdmc/training/loop.py" in client.get_model_version("rdmc", "2").tags["verdict"]
    assert "no commit has" in pipeline(project, "rebuild", "2", str(tmp_path / "two"), code=1)

    run(project, "git", "checkout", "-q", "rdmc/training/loop.py", "params.yaml")
    params.write_text(params.read_text().replace("seed: 0", "seed: 5"))  # other data than those of version 1
    shown = pipeline(project, "rebuild", "1", str(tmp_path / "one"))
    assert "Running stage 'evaluate'" in shown
    assert "Running stage 'train'" not in shown, "the weights are found by their digest"
    rebuilt = json.loads((tmp_path / "one/metrics/evaluate.json").read_text())
    assert rebuilt["light"]["derained"] == pytest.approx(metrics["light"]["derained"], abs=1e-6)
    assert "seed: 0" in (tmp_path / "one/params.yaml").read_text()

    shutil.rmtree(project / ".dvc/cache")  # only the repository and the registry are left
    shown = pipeline(project, "rebuild", "1", str(tmp_path / "again"))
    assert "Running stage 'train'" in shown
    assert "is there already" in pipeline(project, "rebuild", "1", str(tmp_path / "one"), code=1)
