"""`dvc exp run`, in the project and in a copy that DVC deletes (`--temp`): a version is registered, and no alias moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.project import make_project, run

pytestmark = pytest.mark.slow


def test_experiments_register_versions_and_move_no_alias(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    run(root, "dvc", "repro")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "baseline")
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    first = json.loads((root / "metrics/register.json").read_text())
    assert (first["version"], first["alias"]) == (1, "candidate")

    for number, (rate, *options) in enumerate((("1e-3",), ("5e-4", "--temp")), start=2):
        shown = run(root, "dvc", "exp", "run", "--name", f"try-{number}", "-S", f"train.lr={rate}", *options).stdout
        assert "Running stage 'check'" in shown
        assert "Running stage 'prepare" not in shown, "the data are those of the baseline"
        version = client.get_model_version("rdmc", str(number))
        assert version.tags["dvc_experiment"] == f"try-{number}"
        train = client.get_run(str(version.run_id))
        assert (train.info.status, float(train.data.params["train.lr"])) == ("FINISHED", float(rate))
        files = {file.path for file in client.list_artifacts(str(version.run_id))}
        assert "params.yaml" in files, "its artifacts are with those of the project"
        assert Path(str(train.info.artifact_uri).removeprefix("file://")).is_relative_to(root / "mlartifacts")
        assert int(client.get_model_version_by_alias("rdmc", "candidate").version) == 1
        assert len(client.search_model_versions("name = 'rdmc'")) == number

    photo = next((root / "data/pairs/light").rglob("*.png"))
    shown = run(root, "python", "-m", "pipeline", "derain", str(photo), str(tmp_path / "dry.png")).stdout
    assert "version 1" in shown, "the baseline's candidate is used as before"
    run(root, "python", "-m", "pipeline", "derain", str(photo), str(tmp_path / "3.png"), "--model", "models:/rdmc/3")
    assert (tmp_path / "3.png").is_file(), "the version of the deleted copy can be used"
