"""The command ``submit``: which options lead to which call, and the exit code of the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.config.project import Project
from pipeline.jobs import submit
from rdmc.errors import ConfigError
from tests.support.imports import ROOT

FILE = str(ROOT / "params.yaml")


def act(*arguments: str) -> int:
    return CliRunner().invoke(command_line(), ["submit", *arguments], catch_exceptions=False).exit_code


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_goes_with_its_arguments_and_ends_with_the_job_s_code(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def run(*given: Any) -> int:
        calls.append(given)
        return code

    monkeypatch.setattr(submit, "run", run)
    options = ["--env", "A=1", "--env", "B=2", "--address", "http://head:8265", "--detach", "--params", FILE]
    assert act("tune", *options, "--", "--resume") == code
    ((project, *rest),) = calls
    assert isinstance(project, Project)
    job = submit.Job("tune", ["--resume", "--params", FILE], ["A=1", "B=2"])
    assert rest == [job, "http://head:8265", True]


def test_attach_and_cancel_name_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def attach(_: object, *given: str) -> int:
        calls.append(given)
        return 143

    monkeypatch.setattr(submit, "attach", attach)
    monkeypatch.setattr(submit, "cancel", lambda *given: calls.append(given))
    assert act("--attach", "job-1", "--params", FILE) == 143
    assert act("--cancel", "job-2", "--address", "http://head:1") == 0
    assert calls == [("job-1", ""), ("job-2", "http://head:1")]


@pytest.mark.parametrize("arguments", [[], ["train", "--attach", "job-1"], ["--attach", "a", "--cancel", "b"]])
def test_one_thing_at_a_time(arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="needs a command, or --attach JOB, or --cancel JOB"):
        act(*arguments)
