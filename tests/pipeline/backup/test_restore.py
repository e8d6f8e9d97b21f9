"""Backup, destroy, restore: aliases, history and weights are those of before, or the restore says what is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.backup import make, restore
from pipeline.backup.registered import snapshot
from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from rdmc.errors import ConfigError, DataError
from tests.support.imports import ROOT
from tests.support.s3 import s3_server


def act(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a new process: this one still has the deleted database open."""
    command = [sys.executable, "-m", "pipeline", *arguments, "--params", str(ROOT / "params.yaml")]
    return subprocess.run(command, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=False)


def destroy() -> None:
    Path("mlflow.db").unlink()
    shutil.rmtree("mlartifacts")


@pytest.mark.slow
def test_what_was_destroyed_comes_back(project: Project[Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(project)
    assert before["aliases"] == {"candidate": 2, "champion": 1}
    assert [entry[1] for entry in before["history"]] == ["promote", "refuse"]
    backup = make.run(project, tmp_path / "backups")
    destroy()
    gone = act("restore", str(backup), "--check")
    assert gone.returncode == 1
    assert "there is no MLflow store" in gone.stderr
    back = act("restore", str(backup))
    assert back.returncode == 0, back.stderr
    assert "2 versions, aliases and history are those of the backup, and all weights have their digests" in back.stdout
    history = act("history")
    assert "promote" in history.stdout
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.chdir(tmp_path / "elsewhere")  # paths in the database are corrected
    shutil.rmtree(tmp_path / "project/mlartifacts")
    moved = act("restore", str(backup))
    assert moved.returncode == 0, moved.stderr
    assert "2 versions" in moved.stdout


def test_places_in_use_are_refused_unless_replaced(project: Project[Params], tmp_path: Path) -> None:
    backup = make.run(project, tmp_path / "backups")
    with pytest.raises(
        ConfigError, match=r"the database has tables, .*mlartifacts exists; name empty places, or add --replace"
    ):
        restore.run(project, backup)
    MlflowClient().set_registered_model_alias("rdmc", "candidate", "1")
    with pytest.raises(DataError, match="the aliases in MLflow are not those of the backup"):
        restore.run(project, backup, check_only=True)
    again = act("restore", str(backup), "--replace")
    assert again.returncode == 0, again.stderr


def test_a_damaged_backup_changes_nothing(project: Project[Params], tmp_path: Path) -> None:
    before, backup = snapshot(project), make.run(project, tmp_path / "backups")
    weights = next((backup / "mlartifacts").rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match="model.safetensors: has other bytes; the backup is damaged"):
        restore.run(project, backup, replace=True)
    (backup / "inventory.json").unlink()
    with pytest.raises(DataError, match="this is no complete backup"):
        restore.run(project, backup, replace=True)
    assert snapshot(project) == before


def test_the_bucket_comes_back(project: Project[Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        first, second = server.bucket("first"), server.bucket("second")
        kept = {"main/dvc/files/md5/ab/cd": b"shard", "main/mlflow/1/a/model.safetensors": b"weights" * 100}
        for key, data in {**kept, "main/ray/train-x/checkpoint": b"moves", "other/file": b"not ours"}.items():
            first.put_object(Key=key, Body=data)
        here = replace(project, settings=Settings(bucket="s3://first/main"))
        backup = make.run(here, tmp_path / "backups")
        destroy()
        with pytest.raises(ConfigError, match="RDMC_BUCKET: is not set, and the backup has objects of a bucket"):
            restore.run(project, backup)
        restore.run(replace(project, settings=Settings(bucket="s3://second/copy")), backup)
        found = {item.key: item.get()["Body"].read() for item in second.objects.all()}
        assert found == {key.replace("main/", "copy/", 1): data for key, data in kept.items()}
        with pytest.raises(ConfigError, match="the bucket has objects"):
            restore.run(replace(project, settings=Settings(bucket="s3://second/copy")), backup)
