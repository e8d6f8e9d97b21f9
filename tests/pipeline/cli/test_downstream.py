"""The command ``downstream``: what it passes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.downstream import run
from pipeline.downstream.judges import JudgeOptions


def test_options_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run", lambda *given: seen.append(given))
    command = [
        "downstream",
        "--detector",
        "d.onnx",
        "--data",
        "a",
        "--data",
        "b",
        "--values",
        "bytes",
        "--bgr",
        "--json",
        "a.json",
    ]
    assert CliRunner().invoke(command_line(), command).exit_code == 0
    options, _, project = seen[0]
    assert project is None
    judge = JudgeOptions(detector=Path("d.onnx"), values="bytes", bgr=True)
    assert options == run.DownstreamOptions(["a", "b"], judge=judge, json=Path("a.json"))
    assert CliRunner().invoke(command_line(), ["downstream", "--values", "own"]).exit_code == 2
