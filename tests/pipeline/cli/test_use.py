"""The commands that use a model: their defaults, which options lead to which call, and refused values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.config.params import Params
from pipeline.config.settings import Settings
from pipeline.serving import derain, export, serve
from pipeline.serving.choice import NAMES
from pipeline.serving.requests import RequestLimits
from pipeline.serving.types import ServingConfig
from pipeline.tracking import ui
from rdmc.errors import ConfigError
from tests.support.imports import ROOT


def run(*arguments: str) -> int:
    """Run a command in this process. Returns its exit code."""
    return CliRunner().invoke(command_line(), arguments, catch_exceptions=False).exit_code


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments with which the commands were called, without the settings; they do nothing."""
    made: list[tuple[Any, ...]] = []
    for module in (derain, export, serve, ui):
        monkeypatch.setattr(
            module,
            "run",
            lambda *given, **named: made.append((*(g for g in given if not isinstance(g, Settings)), *named.values())),
        )
    monkeypatch.delenv("RDMC_DATA", raising=False)
    return made


def test_derain_chooses_by_the_names_of_the_params(calls: list[tuple[Any, ...]], params: Params) -> None:
    file = ["--params", str(ROOT / "params.yaml")]
    assert (
        run("derain", "a.png", "b.png", *file)
        == run("derain", "in", "out", "--model", "checkpoints/best", "--tile", "512")
        == run("derain", "in", "out", "--model", "reference", "--overwrite")
        == 0
    )
    assert calls == [
        (Path("a.png"), Path("b.png"), "", 1024, params.register_, False),
        (Path("in"), Path("out"), "checkpoints/best", 512, False),
        (Path("in"), Path("out"), "reference", 1024, True),
    ]


def test_outside_of_a_project_the_names_are_the_usual_ones(
    calls: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("derain", "a.png", "b.png") == run("serve") == 0
    assert [call[place] for call, place in zip(calls, (4, 1), strict=True)] == [NAMES, NAMES]
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="params.yaml: "):
        run("derain", "a.png", "b.png")
    with pytest.raises(ConfigError, match="none.yaml: "):
        run("serve", "--params", "none.yaml")
    assert run("derain", "a.png", "b.png", "--model", "reference") == 0, "a named model needs no params"


def test_export_writes_onnx_by_default(calls: list[tuple[Any, ...]]) -> None:
    assert run("export", "models:/rdmc/3", "out") == run("export", "models:/rdmc/3", "out", "--format", "pt2") == 0
    assert calls == [("models:/rdmc/3", Path("out"), "onnx"), ("models:/rdmc/3", Path("out"), "pt2")]


def test_serve_chooses_a_model_and_stays_on_this_machine_by_default(calls: list[tuple[Any, ...]], params: Params) -> None:
    assert run("serve", "--params", str(ROOT / "params.yaml")) == 0
    ((config, names),) = calls
    limits = RequestLimits(32.0, 24.0)
    assert config == ServingConfig(
        "", "127.0.0.1", 8000, 1024, 1, 128, 5.0, limits, Path(".cache/served"), 300.0, Path(".cache/serve-8000.log")
    )
    assert names == params.register_


def test_serve_passes_every_option(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDMC_DATA", "/elsewhere")
    options = {"model": "models:/rdmc/3", "host": "192.0.2.1", "port": 80, "poll": 1, "batch": 4, "queue": 7, "tile": 300}
    options |= {"megabytes": 2, "megapixels": 3, "timeout": 9}
    assert run("serve", *(text for name, value in options.items() for text in (f"--{name}", str(value)))) == 0
    ((config,),) = calls
    limits = RequestLimits(2.0, 3.0)
    assert config == ServingConfig(
        "models:/rdmc/3",
        "192.0.2.1",
        80,
        300,
        4,
        7,
        1.0,
        limits,
        Path("/elsewhere/.cache/served"),
        9.0,
        Path("/elsewhere/.cache/serve-80.log"),
    )


def test_ui_passes_the_port(calls: list[tuple[Any, ...]]) -> None:
    assert run("ui") == run("ui", "--port", "5001") == 0
    assert calls == [(5000,), (5001,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ui", "--port", "0"],
        ["serve", "--port", "65536"],
        ["serve", "--batch", "0"],
        ["serve", "--megapixels", "81"],
        ["derain", "a.png", "b.png", "--tile", "255"],
        ["derain", "a.png"],
        ["export", "models:/rdmc/3"],
    ],
)
def test_a_value_outside_its_range_or_a_missing_argument_is_a_usage_error(
    arguments: list[str], calls: list[tuple[Any, ...]]
) -> None:
    assert run(*arguments) == 2
    assert calls == []
