"""The command ``compare``: what it passes on, with and without a params file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.comparison import run
from rdmc.quality.perceptual import PerceptualFiles
from tests.support.data import write_tiny_params


def test_models_data_and_targets_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run", lambda *given: seen.append(given))
    command = ["compare", "reference", "prenet:x.pth", "--data", "light", "--data", "raw/x", "--json", "a.json", "--fresh"]
    command += ["--lpips", "alex.pth", "--alexnet", "net.pth"]
    assert CliRunner().invoke(command_line(), command).exit_code == 0
    models, data, targets, _, project, fresh, weights = seen[0]
    assert weights == PerceptualFiles(lpips=Path("alex.pth"), alexnet=Path("net.pth"))
    assert (models, data, fresh, project) == (["reference", "prenet:x.pth"], ["light", "raw/x"], True, None)
    assert targets == run.Targets(json=Path("a.json"))
    write_tiny_params(Path("params.yaml"))
    assert CliRunner().invoke(command_line(), command).exit_code == 0
    assert set(seen[1][4].params.datasets) == {"light", "heavy"}


def test_models_and_data_must_be_named() -> None:
    assert CliRunner().invoke(command_line(), ["compare", "--data", "light"]).exit_code == 2
    assert CliRunner().invoke(command_line(), ["compare", "reference"]).exit_code == 2
