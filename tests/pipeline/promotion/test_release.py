"""``release``: the order of its steps, and the settings that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.promotion import promote, release
from rdmc.errors import ConfigError, ServiceError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that ``release`` makes, which do nothing here."""
    made: list[str] = []

    def judge(project: Project[Params], version: str) -> bool:
        made.append(f"promote {version}")
        return version == "candidate"

    monkeypatch.setattr(release, "connect", lambda settings, root: made.append(f"connect {settings.bucket} {root}"))
    monkeypatch.setattr(release, "show_dvc", lambda root, *command: made.append(f"dvc {' '.join(command)} {root}"))
    monkeypatch.setattr(promote, "run", judge)
    return made


def test_the_newest_version_is_judged_after_the_pipeline_has_run(calls: list[str], params: Params) -> None:
    def read_project() -> Project[Params]:
        calls.append("read")
        return Project(params, Settings(), Paths())

    assert release.run(Settings(), read_project)
    assert calls == ["dvc repro .", "read", "promote candidate"]
    calls.clear()
    release.run(Settings(bucket="s3://bucket"), read_project)
    assert calls == ["connect s3://bucket .", "dvc repro .", "read", "promote candidate"]


def test_a_refusal_of_the_gate_is_returned(calls: list[str], params: Params) -> None:
    other = params.model_copy(update={"register_": params.register_.model_copy(update={"alias": "nightly"})})
    assert not release.run(Settings(), lambda: Project(other, Settings(), Paths()))
    assert calls[-1] == "promote nightly"


def test_project_files_elsewhere_are_refused_before_anything_runs(calls: list[str], params: Params) -> None:
    with pytest.raises(ConfigError, match="^RDMC_DATA=/elsewhere: DVC keeps its files in this folder; unset it"):
        release.run(Settings(data="/elsewhere"), lambda: Project(params, Settings(), Paths()))
    assert calls == []


def test_nothing_is_promoted_if_the_pipeline_fails(calls: list[str], params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(root: Path, *command: str) -> None:
        raise ServiceError("dvc repro failed")

    monkeypatch.setattr(release, "show_dvc", fails)
    with pytest.raises(ServiceError, match="dvc repro failed"):
        release.run(Settings(), lambda: Project(params, Settings(), Paths()))
    assert calls == []
