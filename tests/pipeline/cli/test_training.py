"""The training commands: which options lead to which call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.config.params import Params, read_params
from pipeline.config.project import Project
from pipeline.experiments import ablate, baseline, compare, search, tune
from pipeline.profile import run as profile_run
from pipeline.reference import make
from pipeline.stages import evaluate, train
from rdmc.errors import ConfigError
from rdmc.reference import FOLDER
from tests.support.imports import ROOT


@pytest.mark.parametrize(
    ("module", "arguments", "passed"),
    [
        (train, ["train"], ()),
        (evaluate, ["evaluate"], ()),
        (search, ["search"], ()),
        (tune, ["tune"], (False, "")),
        (tune, ["tune", "--resume"], (True, "")),
        (tune, ["tune", "--resume", "--sweep", "monday"], (True, "monday")),
        (ablate, ["ablate"], (False, None)),
        (ablate, ["ablate", "--fresh", "--write", "docs/x.md"], (True, Path("docs/x.md"))),
        (make, ["reference"], (FOLDER, None)),
        (make, ["reference", "--out", "w", "--write", "docs/x.md"], (Path("w"), Path("docs/x.md"))),
    ],
)
def test_a_command_passes_the_project_and_its_options(
    module: Any, arguments: list[str], passed: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "run", lambda *given: calls.append(given))
    monkeypatch.setenv("RDMC_WORKERS", "3")
    command = [*arguments, "--params", str(ROOT / "params.yaml")]
    assert CliRunner().invoke(command_line(), command, catch_exceptions=False).exit_code == 0
    ((project, *rest),) = calls
    assert isinstance(project, Project)
    assert (project.settings.workers, project.params.train.lr) == (3, 2e-3)
    assert tuple(rest) == passed


def test_baseline_and_experiments_need_no_params(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(baseline, "run", lambda: calls.append("commit"))
    monkeypatch.setattr(baseline, "hint", lambda: calls.append("hint"))
    monkeypatch.setattr(compare, "run", lambda as_json: calls.append(as_json))
    for arguments in (["baseline"], ["baseline", "--hint"], ["experiments"], ["experiments", "--json"]):
        assert CliRunner().invoke(command_line(), arguments, catch_exceptions=False).exit_code == 0
    assert calls == ["commit", "hint", False, True]


def test_nothing_is_trained_without_params(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train, "run", lambda *_: pytest.fail("trained"))
    with pytest.raises(ConfigError, match="none.yaml"):
        CliRunner().invoke(command_line(), ["train", "--params", str(tmp_path / "none.yaml")], catch_exceptions=False)


def test_the_reference_is_trained_with_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Project[Params]] = []
    monkeypatch.setattr(make, "run", lambda project, *_: calls.append(project))
    file = ["--params", str(ROOT / "params.yaml")]
    assert CliRunner().invoke(command_line(), ["reference", *file], catch_exceptions=False).exit_code == 0
    assert [project.params for project in calls] == [read_params(ROOT / "params.yaml", "reference")]
    with pytest.raises(ConfigError, match="'none' is not a profile"):
        CliRunner().invoke(command_line(), ["reference", *file, "--profile", "none"], catch_exceptions=False)


def test_a_profile_runs_with_its_params_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Project[Params], str]] = []
    monkeypatch.setattr(profile_run, "run", lambda *given: calls.append(given))
    command = ["profile", "rain800-10min", "--params", str(ROOT / "params.yaml")]
    assert CliRunner().invoke(command_line(), command, catch_exceptions=False).exit_code == 0
    assert [(project.params, name) for project, name in calls] == [
        (read_params(ROOT / "params.yaml", "rain800-10min"), "rain800-10min")
    ]


def test_an_unknown_option_is_a_usage_error() -> None:
    assert CliRunner().invoke(command_line(), ["train", "--steps", "5"]).exit_code == 2
