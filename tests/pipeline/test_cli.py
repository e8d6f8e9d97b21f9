"""The command line: its acts are frozen, its help is there, a person's mistake is one line and exit code 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.imports import ROOT

ACTS = {"prepare", "pack", "train", "tune", "evaluate", "register", "derain", "connect"}


def act(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment}
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)


def test_acts_are_frozen_and_each_says_what_it_does() -> None:
    from typer.main import get_command

    from pipeline.__main__ import app

    command = get_command(app)
    assert set(command.commands) == ACTS  # type: ignore[attr-defined]
    for name, found in command.commands.items():  # type: ignore[attr-defined]
        assert len(found.help or "") > 40, name


def test_help_is_worth_reading() -> None:
    shown = act("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in (*ACTS, "make repro", "params.yaml"))
    assert "models:/rdmc@candidate" in act("derain", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "drizzle"], "'drizzle' is not a dataset of params.yaml (light, heavy)"),
        (["train", "--params", "none.yaml"], "none.yaml"),
        (["derain", "none.png", "out.png", "--model", "checkpoints/none"], "none"),
    ],
)
def test_mistake_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    params = [] if arguments[0] == "derain" or "--params" in arguments else ["--params", str(ROOT / "params.yaml")]
    done = act(*arguments, *params, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_bad_setting_is_one_line() -> None:
    done = act("prepare", "light", RDMC_WORKERS="many")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: RDMC_WORKERS: 'many'")
