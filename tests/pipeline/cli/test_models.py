"""The registry commands: which options lead to which call, and exit code 3 if the gate refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.config.project import Project
from pipeline.promotion import history, models, promote, release, rollback
from pipeline.registry import diff, rebuild
from pipeline.stages import check, register
from tests.support.imports import ROOT

PARAMS = ["--params", str(ROOT / "params.yaml")]


def run(*arguments: str) -> int:
    """Run a command in this process. Returns its exit code."""
    return CliRunner().invoke(command_line(), arguments, catch_exceptions=False).exit_code


@pytest.mark.parametrize(
    ("module", "arguments", "passed"),
    [
        (register, ["register"], ()),
        (models, ["models"], (False,)),
        (models, ["models", "--json"], (True,)),
        (promote, ["promote", "3"], ("3", False, "", False)),
        (promote, ["promote", "3", "--json"], ("3", False, "", True)),
        (promote, ["promote", "candidate", "--force", "--reason", "hotfix"], ("candidate", True, "hotfix", False)),
        (rollback, ["rollback"], ("",)),
        (rollback, ["rollback", "--reason", "blurred"], ("blurred",)),
        (diff, ["diff", "1", "champion"], ("1", "champion", False)),
        (diff, ["diff", "1", "champion", "--json"], ("1", "champion", True)),
        (history, ["history"], (False, 0)),
        (history, ["history", "--json", "--limit", "3"], (True, 3)),
        (rebuild, ["rebuild", "2", "old"], ("2", Path("old"), False)),
        (rebuild, ["rebuild", "2", "old", "--train"], ("2", Path("old"), True)),
    ],
)
def test_a_command_passes_the_project_and_its_options(
    module: Any, arguments: list[str], passed: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run", called := Mock(return_value=True))
    assert run(*arguments, *PARAMS) == 0
    project, *rest = called.call_args.args
    assert isinstance(project, Project)
    assert project.params.register_.model == "rdmc"
    assert tuple(rest) == passed


@pytest.mark.parametrize(("module", "arguments"), [(promote, ["promote", "3", *PARAMS]), (release, ["release"])])
def test_the_exit_code_is_3_if_the_gate_refuses(module: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for promoted, code in ((False, 3), (True, 0)):
        monkeypatch.setattr(module, "run", lambda *_, answer=promoted: answer)
        assert run(*arguments) == code


def test_release_reads_the_params_only_after_the_pipeline_ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # there is no params.yaml here
    monkeypatch.setattr(release, "run", called := Mock(return_value=True))
    assert run("release") == 0
    settings, read, checks = called.call_args.args
    assert checks is check.run
    assert settings.experiment == "rdmc"
    assert read(ROOT / "params.yaml").params.register_.model == "rdmc"


@pytest.mark.parametrize("arguments", [["promote"], ["diff", "1"], ["rebuild", "1"]])
def test_a_missing_argument_is_a_usage_error(arguments: list[str]) -> None:
    assert run(*arguments) == 2
