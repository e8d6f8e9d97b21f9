"""The command ``robustness``: tables, the weakest rain, JSON and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.comparison.robustness import run
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.evaluation import rain_maps
from rdmc.errors import ConfigError
from rdmc.reference import reference_card


def test_the_reference_gains_in_the_base_rain_and_everything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rain_maps, "LEVELS", {name: values[2:3] for name, values in rain_maps.LEVELS.items()})
    monkeypatch.setattr(rain_maps, "MAPS", (("angle", "density"), ("length", "opacity")))
    for module in (rain_maps, run):
        monkeypatch.setattr(module, "SIDE", 96)
    monkeypatch.setattr(console, "width", 200)
    maps = run.run("reference", Settings(gpu=False), images=2, json_file=tmp_path / "a.json", picture=tmp_path / "a.svg")
    assert all(cell.gain > 1 for one in maps for row in one.cells for cell in row)
    shown = capsys.readouterr().out
    assert f"model: reference version {reference_card().version}" in shown
    assert "gain in dB PSNR-Y by angle and density" in " ".join(shown.split())
    assert "least gain: +" in shown
    written = json.loads((tmp_path / "a.json").read_text())
    assert (written["images"], written["side"], written["seed"]) == (2, 96, 0)
    assert written["maps"][0]["cells"] == [[maps[0].cells[0][0].plain()]]
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_a_picture_of_another_kind_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.gif: heat maps are"):
        run.run("none", Settings(), picture=tmp_path / "a.gif")


def test_the_options_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run", lambda *given, **named: seen.append((given[0], named)))
    assert CliRunner().invoke(command_line(), ["robustness", "--model", "x", "--images", "2", "--json", "a"]).exit_code == 0
    assert CliRunner().invoke(command_line(), ["robustness"]).exit_code == 0
    wanted = {"images": 2, "seed": 0, "json_file": Path("a"), "picture": None}
    assert seen[0] == ("x", wanted)
    assert seen[1][0] == ""
    assert seen[1][1]["names"].model == "rdmc"
