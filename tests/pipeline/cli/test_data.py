"""The data commands: which options lead to which call, refusals and exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.config.data import Layout
from pipeline.data import benchmarks
from pipeline.data import fetch as fetch_command
from pipeline.stages import leaks as leaks_stage
from pipeline.stages import pack as pack_stage
from pipeline.stages import prepare as prepare_stage
from pipeline.storage import clean, dvc_remote
from rdmc.errors import ConfigError
from tests.support.imports import ROOT

PARAMS = ["--params", str(ROOT / "params.yaml")]


def run(*arguments: str) -> int:
    """Run a command in this process. Returns its exit code; a ConfigError is raised."""
    return CliRunner().invoke(command_line(), arguments, catch_exceptions=False).exit_code


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments with which the commands were called; they do nothing."""
    made: list[tuple[Any, ...]] = []
    for module in (benchmarks, clean, fetch_command, prepare_stage, pack_stage, leaks_stage):
        monkeypatch.setattr(module, "run", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(dvc_remote, "connect", lambda *arguments: made.append(arguments))
    monkeypatch.delenv("RDMC_DATA", raising=False)
    return made


def test_datasets_passes_the_name_and_the_format(calls: list[tuple[Any, ...]]) -> None:
    assert run("datasets") == run("datasets", "rain800", "--json") == 0
    assert calls == [("", False), ("rain800", True)]


def test_fetch_passes_digest_and_dvc(calls: list[tuple[Any, ...]]) -> None:
    assert run("fetch", "x.zip", "raw/x") == run("fetch", "x.zip", "raw/x", "--sha256", "ab", "--dvc") == 0
    assert calls == [("x.zip", Path("raw/x"), "", False), ("x.zip", Path("raw/x"), "ab", True)]


def test_prepare_passes_the_rules_of_the_dataset(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDMC_DATA", "/elsewhere")
    assert run("prepare", "heavy", *PARAMS) == 0
    ((name, source, _, seed, folder),) = calls
    assert (name, source.rain, seed, folder) == ("heavy", "heavy", 0, Path("/elsewhere/data/pairs/heavy"))


def test_pack_reads_the_leaks_only_if_they_are_excluded(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    other = tmp_path / "params.yaml"
    other.write_text((ROOT / "params.yaml").read_text().replace("exclude: true", "exclude: false"))
    assert run("pack", "light", *PARAMS) == run("pack", "light", "--params", str(other)) == 0
    assert [arguments[-1] for arguments in calls] == [Path("data/leaks.json"), None]


@pytest.mark.parametrize("command", ["prepare", "pack"])
def test_an_unknown_dataset_is_refused(command: str, calls: list[tuple[Any, ...]]) -> None:
    with pytest.raises(ConfigError, match=r"'drizzle' is not a dataset of params.yaml \(light, heavy, wild\); name one"):
        run(command, "drizzle", *PARAMS)
    assert calls == []


def test_leaks_without_folders_compares_the_datasets_of_the_params(calls: list[tuple[Any, ...]]) -> None:
    assert run("leaks", *PARAMS, "--pictures", "sheets") == 0
    ((datasets, rules, paths, pictures),) = calls
    assert (list(datasets), rules.score, paths.leaks, pictures) == (
        ["light", "heavy", "wild"], 0.4, Path("data/leaks.json"), Path("sheets"),
    )  # fmt: skip


@pytest.mark.parametrize(("leaking", "code"), [(True, 3), (False, 0)])
def test_leaks_of_folders_sets_the_exit_code(leaking: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks_stage, "check", check := Mock(return_value=leaking))
    arguments = ["--train", "a", "--train", "b", "--test", "c", "--layout", "clean-left", "--score", "0.5"]
    assert run("leaks", *arguments) == run("leaks", "--test", "c") == code
    assert check.call_args_list == [
        call(["a", "b"], ["c"], [Layout.CLEAN_LEFT], 0.5, None, None),
        call([], ["c"], [Layout.CLEAN], 0.4, None, None),
    ]


def test_leaks_refuses_a_score_outside_its_range() -> None:
    assert run("leaks", "--test", "c", "--score", "1.5") == 2


def test_clean_deletes_only_where_it_is_told_so(calls: list[tuple[Any, ...]]) -> None:
    assert run("clean", "--older-than", "30", *PARAMS) == run("clean", "--older-than", "0.5", "--yes", *PARAMS) == 0
    assert run("clean", "--older-than", "9", "--results", *PARAMS) == 0
    assert [arguments[1:] for arguments in calls] == [(30.0, False, False), (0.5, True, False), (9.0, False, True)]
    assert run("clean", *PARAMS) == 2, "how old is no guess of ours"


def test_connect_uses_the_settings_and_the_working_folder(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RDMC_BUCKET", "s3://rain/team")
    assert run("connect") == 0
    ((settings, root),) = calls
    assert (settings.bucket, root) == ("s3://rain/team", Path())
