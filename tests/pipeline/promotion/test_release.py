"""``release``: the order of its steps, and the settings that it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.promotion import promote, release
from rdmc.errors import ConfigError, DataError, ServiceError
from rdmc.files import write_text
from tests.support.registry import add_versions


def passes(project: Project[Params]) -> None:
    """A check that finds nothing."""


def record(version: int, run_id: str) -> None:
    """Write the result of ``register`` in the working folder."""
    write_text(Paths().register_metrics, json.dumps({"model": "rdmc", "version": version, "run_id": run_id}))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: str) -> list[str]:
    """The calls that ``release`` makes, which do nothing here.

    In the working folder ``register`` made version 1. Another checkout made version 2, the candidate.
    """
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(store)
    add_versions(client, "rdmc", 2)
    client.set_registered_model_alias("rdmc", "candidate", "2")
    record(1, str(client.get_model_version("rdmc", "1").run_id))
    made: list[str] = []

    def judge(project: Project[Params], version: str) -> bool:
        made.append(f"promote {version}")
        return version == "1"

    def dvc(root: Path, *command: str) -> None:
        made.append(f"dvc {' '.join(command)} {root}")
        if "register" in command:
            record(3, "run of 3")

    monkeypatch.setattr(release, "connect", lambda settings, root: made.append(f"connect {settings.bucket} {root}"))
    monkeypatch.setattr(release, "show_dvc", dvc)
    monkeypatch.setattr(promote, "run", judge)
    return made


def test_the_version_of_this_project_is_judged_after_the_pipeline_has_run(calls: list[str], params: Params) -> None:
    def read_project() -> Project[Params]:
        calls.append("read")
        return Project(params, Settings(), Paths())

    def check(project: Project[Params]) -> None:
        calls.append("check")

    assert release.run(Settings(), read_project, check)
    assert calls == ["read", "check", "dvc repro .", "read", "promote 1"]
    calls.clear()
    release.run(Settings(bucket="s3://bucket"), read_project, check)
    assert calls == ["read", "check", "connect s3://bucket .", "dvc repro .", "read", "promote 1"]


def test_nothing_runs_for_a_project_that_is_refused(calls: list[str], params: Params) -> None:
    def check(project: Project[Params]) -> None:
        raise DataError("mine/*.png: matches no file")

    with pytest.raises(DataError, match="matches no file"):
        release.run(Settings(bucket="s3://bucket"), lambda: Project(params, Settings(), Paths()), check)
    assert calls == []


def test_a_refusal_of_the_gate_is_returned(calls: list[str], params: Params, store: str) -> None:
    record(2, str(MlflowClient(store).get_model_version("rdmc", "2").run_id))
    assert not release.run(Settings(), lambda: Project(params, Settings(), Paths()), passes)
    assert calls[-1] == "promote 2"


@pytest.mark.parametrize(("version", "run_id"), [(7, "run of 7"), (1, "a run of another server")])
def test_a_version_that_mlflow_does_not_have_is_registered_again(
    calls: list[str], params: Params, version: int, run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record(version, run_id)
    release.run(Settings(), lambda: Project(params, Settings(), Paths()), passes)
    assert calls == ["dvc repro .", "dvc repro --force --single-item register .", "promote 3"]
    assert f"MLflow does not have version {version} of this project" in capsys.readouterr().out


def test_a_project_that_registered_nothing_names_the_command(calls: list[str], params: Params) -> None:
    Paths().register_metrics.unlink()
    with pytest.raises(DataError, match=r"register\.json: .*; make it with `dvc repro --force --single-item register`"):
        release.run(Settings(), lambda: Project(params, Settings(), Paths()), passes)


def test_project_files_elsewhere_are_refused_before_anything_runs(calls: list[str], params: Params) -> None:
    with pytest.raises(ConfigError, match="^RDMC_DATA=/elsewhere: DVC keeps its files in this folder; unset it"):
        release.run(Settings(data="/elsewhere"), lambda: Project(params, Settings(), Paths()), passes)
    assert calls == []


def test_nothing_is_promoted_if_the_pipeline_fails(calls: list[str], params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(root: Path, *command: str) -> None:
        raise ServiceError("dvc repro failed")

    monkeypatch.setattr(release, "show_dvc", fails)
    with pytest.raises(ServiceError, match="dvc repro failed"):
        release.run(Settings(), lambda: Project(params, Settings(), Paths()), passes)
    assert calls == []
