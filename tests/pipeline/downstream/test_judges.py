"""The network that looks: a detector, a segmenter, both, or the small one that is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.downstream import judges
from pipeline.downstream.judges import JudgeOptions, judge
from rdmc.data.images import Image
from rdmc.errors import ConfigError
from tests.support.onnx_models import OBJECTS, colours, constant


def test_a_file_becomes_a_detector_or_a_segmenter(tmp_path: Path) -> None:
    file = constant(tmp_path / "d.onnx", {"boxes": OBJECTS[None], "scores": np.ones((1, 2, 1), np.float32)})
    image = np.zeros((64, 64, 3), np.uint8)
    found = judge(JudgeOptions(detector=file, stretch=True))
    assert found.about == "d.onnx, input 64x64, stretched"
    assert found.detect is not None
    assert len(found.detect(image)) == 2
    found = judge(JudgeOptions(segmenter=colours(tmp_path / "s.onnx")))
    assert found.about == "s.onnx, input 32x32, letterboxed"
    assert found.segment is not None
    assert found.segment(image).shape == (32, 32)


def test_two_networks_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both are named"):
        judge(JudgeOptions(detector=tmp_path / "a", segmenter=tmp_path / "b"))


def test_without_one_a_small_segmenter_is_trained_on_clean_training_photographs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[int] = []

    class Regions:
        def __init__(self, photographs: list[Image]) -> None:
            given.append(len(photographs))

    monkeypatch.setattr(judges, "ColourRegions", Regions)
    found = judge(JudgeOptions())
    assert isinstance(found.segment, Regions)
    assert given[0] > 70
    assert f"{given[0]} clean embedded photographs" in capsys.readouterr().out
    assert "it stands in for a real network" in found.about
