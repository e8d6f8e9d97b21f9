"""``downstream`` as a whole, on folders without a project; and inputs that are refused before an image is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.downstream.judges import JudgeOptions
from pipeline.downstream.run import DownstreamOptions, run
from rdmc.data.images import read_rgb, write_png
from rdmc.errors import ConfigError, DataError
from tests.support.comparison import pair_folder
from tests.support.data import scene
from tests.support.onnx_models import OBJECTS, colours, constant


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=str(tmp_path), gpu=False)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return constant(tmp_path / "d.onnx", {"boxes": OBJECTS[None], "scores": np.full((1, 2, 1), 0.9, np.float32)})


def test_a_detector_and_all_files(tmp_path: Path, settings: Settings, detector: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Mine\n<!-- downstream: begin -->\nold\n<!-- downstream: end -->\n")
    write_png(tmp_path / "real/a.png", scene(1))
    (tmp_path / "classes.txt").write_text("square\n")
    options = DownstreamOptions(
        data=[str(pair_folder(tmp_path / "set", 2)), str(tmp_path / "real")],
        model="reference",
        judge=JudgeOptions(detector=detector),
        classes=tmp_path / "classes.txt",
        json=tmp_path / "a.json",
        markdown=page,
        pictures=tmp_path / "pictures",
    )
    results = run(options, settings, None)
    assert [(result.name, list(result.boxes)) for result in results] == [("set", ["rainy", "derained"]), ("real", ["derained"])]
    assert results[0].boxes["derained"].recall == 1, "the network says the same of every image"
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["network"].startswith("d.onnx")
    assert content["model"].startswith("reference version")
    text = page.read_text()
    assert "| set (2) | derained | 4 | 4 | 1.000 | 0 |" in text
    assert "old" not in text
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["real-a.png", "set-0.png", "set-1.png"]
    assert read_rgb(tmp_path / "pictures/set-0.png").shape[1] > 3 * 480


def test_a_segmenter_with_annotations(tmp_path: Path, settings: Settings) -> None:
    folder = pair_folder(tmp_path / "set", 1)
    options = DownstreamOptions(
        [str(folder)], "reference", JudgeOptions(segmenter=colours(tmp_path / "s.onnx")), tmp_path / "maps"
    )
    with pytest.raises(ConfigError, match="no such folder; name one with a grey PNG"):
        run(options, settings, None)
    (tmp_path / "maps").mkdir()
    with pytest.raises(DataError, match=r"0\.png: no such file"):
        run(options, settings, None)


def test_what_cannot_be_used_is_refused_first(tmp_path: Path, settings: Settings, detector: Path) -> None:
    judge = JudgeOptions(detector=detector)
    for options, said in (
        (DownstreamOptions(judge=judge), "no data is named"),
        (DownstreamOptions([str(tmp_path)], judge=judge, classes=tmp_path / "none"), "none: no such file; name a text file"),
        (DownstreamOptions([str(tmp_path)], judge=judge, markdown=tmp_path / "none.md"), "none.md"),
    ):
        with pytest.raises(ConfigError, match=said):
            run(options, settings, None)
