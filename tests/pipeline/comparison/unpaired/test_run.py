"""The command ``unpaired`` over a folder: figures, what is set aside, files, and folders that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.comparison.unpaired import run
from pipeline.comparison.unpaired.objects import DetectorFile, class_finds
from pipeline.comparison.unpaired.sheet import BOX
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.serving import derain
from rdmc.data.images import read_rgb, write_png
from rdmc.datasets.rain import render
from rdmc.errors import ConfigError, DataError
from rdmc.files import pictures
from rdmc.models.baselines import PReNet, PReNetConfig
from tests.support.data import scene
from tests.support.imports import ROOT
from tests.support.onnx_models import OBJECTS, constant

DETECTOR = ROOT.parent / "shared/weights/nanodet_coco80.onnx"
RAINY = ROOT.parent / "shared/data/real"


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A small network that changes something."""
    torch.manual_seed(0)
    torch.save(PReNet(PReNetConfig(width=2)).state_dict(), tmp_path / "small.pth")
    return str(tmp_path / "small.pth")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        large = np.tile(scene(number), (2, 2, 1))[:120, :130]
        write_png(tmp_path / f"real/{'sub/' if number else ''}{number}.png", render(large, "light", (number,)))
    (tmp_path / "real/broken.jpg").write_bytes(b"not a jpeg")
    (tmp_path / "real/notes.txt").write_text("no picture")
    return tmp_path / "real"


def test_every_photograph_is_measured_and_the_rest_is_set_aside(
    tmp_path: Path, photos: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 200)
    derain.run(photos / "0.png", photos / "dry.png", model, Settings(gpu=False))
    capsys.readouterr()
    results = run.run(photos, model, Settings(gpu=False), json_file=tmp_path / "a.json", sheet=tmp_path / "a.jpg")
    assert [one.image for one in results] == ["0.png", "sub/1.png", "sub/2.png"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "broken.jpg: not an image" in shown
    assert "set aside: dry.png: is a result of derain already" in shown
    assert "real: 3 photographs, 2 set aside" in shown
    assert "NIQE (lower is better)" in shown
    written = json.loads((tmp_path / "a.json").read_text())
    assert [one["image"] for one in written["images"]] == ["0.png", "sub/1.png", "sub/2.png"]
    assert written["means"]["piqe"]["images"] == 3
    assert len(written["set_aside"]) == 2
    rainy, derained = read_rgb(photos / "0.png"), read_rgb(photos / "dry.png")
    assert written["images"][0]["mean_change"] == pytest.approx(np.abs(rainy.astype(int) - derained).mean())
    assert read_rgb(tmp_path / "a.jpg").shape[1] > 1500


def test_what_a_detector_finds_before_and_after(
    tmp_path: Path, photos: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 200)
    scores = np.array([[[0.1, 0.9], [0.6, 0.2]]], np.float32)
    file = constant(tmp_path / "d.onnx", {"boxes": OBJECTS[None], "scores": scores})
    (tmp_path / "classes.txt").write_text("car\n")
    detector = DetectorFile(file, tmp_path / "classes.txt", stretch=True)
    results = run.run(
        photos, model, Settings(gpu=False), json_file=tmp_path / "a.json", sheet=tmp_path / "a.png", detector=detector
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert "found by d.onnx, input 64x64, stretched, score 0.3 and more" in shown
    assert "nobody has marked what is there" in shown
    assert results[0].objects_before == {"class 1": [pytest.approx(0.9)], "car": [pytest.approx(0.6)]}
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["objects"]["all"]["before"] == written["objects"]["all"]["after"] == 6
    assert written["objects"]["car"] == {
        "before": 3, "after": 3, "score_before": pytest.approx(0.6), "score_after": pytest.approx(0.6)
    }  # fmt: skip
    assert (written["detector"], written["least_score"]) == ("d.onnx, input 64x64, stretched", 0.3)
    assert written["images"][1]["objects_after"]["car"] == [pytest.approx(0.6)]
    red = (np.abs(read_rgb(tmp_path / "a.png").astype(int) - BOX).max(axis=2) == 0).sum()
    assert red > 6 * 100, "two boxes on each of six pictures"


@pytest.mark.skipif(not (DETECTOR.is_file() and RAINY.is_dir()), reason="needs ../shared: a detector and real photographs")
def test_a_real_detector_on_real_rain(tmp_path: Path, model: str) -> None:
    (tmp_path / "some").mkdir()
    for path in pictures(RAINY)[:2]:
        (tmp_path / "some" / path.name).write_bytes(path.read_bytes())
    results = run.run(tmp_path / "some", model, Settings(gpu=False), detector=DetectorFile(DETECTOR))
    found = class_finds(results)["all"]
    assert found.before > 0
    assert 0.3 <= (found.score_before or 0) <= 1


def test_unchanged_photographs_are_said(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 200)
    monkeypatch.setattr(run, "derain_image", lambda _, rainy, *__: rainy)
    run.run(photos, "reference", Settings(gpu=False))
    assert "3 photographs are unchanged (first: 0.png)" in capsys.readouterr().out


def test_what_cannot_be_used_is_one_line(tmp_path: Path, photos: Path, model: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_bytes(b"")
    for folder, reason in (("none", "no such folder"), ("empty", "no pictures"), ("bad", "none of its 1 pictures can be used")):
        with pytest.raises(DataError, match=rf"{folder}: {reason}"):
            run.run(tmp_path / folder, model, Settings(gpu=False))
    with pytest.raises(ConfigError, match=r"none\.onnx: no such file"):
        run.run(photos, model, Settings(), detector=DetectorFile(tmp_path / "none.onnx"))
    with pytest.raises(ConfigError, match=r"classes\.txt: no such file; name a text file"):
        run.run(photos, model, Settings(), detector=DetectorFile(tmp_path / "none.onnx", tmp_path / "classes.txt"))
    with pytest.raises(ConfigError, match=r"a\.gif: a contact sheet is a \.png"):
        run.run(photos, model, Settings(), sheet=tmp_path / "a.gif")


def test_the_options_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run", lambda *given, **named: seen.append((given[:2], named)))
    assert CliRunner().invoke(command_line(), ["unpaired", "real", "--model", "x", "--sheet", "s.png"]).exit_code == 0
    assert CliRunner().invoke(command_line(), ["unpaired", "real"]).exit_code == 0
    assert seen[0] == ((Path("real"), "x"), {"tile": 1024, "json_file": None, "sheet": Path("s.png"), "detector": None})
    assert seen[1][1]["names"].model == "rdmc"
    command = ["unpaired", "real", "--detector", "d.onnx", "--classes", "c.txt", "--layout", "yolov8", "--bgr", "--stretch"]
    assert CliRunner().invoke(command_line(), [*command, "--values", "bytes"]).exit_code == 0
    assert seen[2][1]["detector"] == DetectorFile(Path("d.onnx"), Path("c.txt"), "yolov8", "bytes", True, True)
