"""Objects by class before and after, their mean scores, and the rows of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.comparison.unpaired.measure import WildResult
from pipeline.comparison.unpaired.objects import ClassFinds, DetectorFile, Lookout, class_finds, open_detector, rows
from rdmc.downstream.boxes import Detections
from rdmc.errors import ConfigError
from tests.support.onnx_models import OBJECTS, constant


def result(before: dict[str, list[float]], after: dict[str, list[float]]) -> WildResult:
    return WildResult("a.png", 10, 10, {}, {}, 0.5, 1.0, 0.1, before, after)


def test_counts_and_mean_scores_are_over_all_photographs() -> None:
    results = [
        result({"car": [0.9, 0.5]}, {"car": [0.9, 0.7, 0.5], "dog": [0.4]}),
        result({"bus": [0.6]}, {"car": [0.3]}),
        result({}, {}),
    ]
    found = class_finds(results)
    assert list(found) == ["all", "car", "bus", "dog"], "those with most objects first, then by name"
    assert (found["car"].before, found["car"].after) == (2, 4)
    assert found["car"].score_before == pytest.approx(0.7)
    assert found["car"].score_after == pytest.approx(0.6)
    assert (found["all"].before, found["all"].after) == (3, 5)
    assert found["all"].score_before == pytest.approx(2.0 / 3)
    assert found["dog"] == ClassFinds(0, 1, None, 0.4)
    assert rows(found, 2) == [["all", "3", "5", "0.67", "0.56"], ["car", "2", "4", "0.70", "0.60"]]
    assert rows(found, 9)[-1] == ["dog", "0", "1", "-", "0.40"]
    assert class_finds([result({}, {})]) == {"all": ClassFinds(0, 0, None, None)}


def test_faint_objects_do_not_count_and_classes_without_a_name_have_their_number() -> None:
    found = Detections.of(np.tile([[0.0, 0, 5, 5]], (4, 1)), np.array([0.9, 0.29, 0.3, 0.5]), np.array([0, 0, 0, 2]))
    assert Lookout("", lambda _: found, ("car",)).scores(found) == {"car": [0.9, 0.3], "class 2": [0.5]}


def test_a_file_becomes_a_detector(tmp_path: Path) -> None:
    file = constant(tmp_path / "d.onnx", {"boxes": OBJECTS[None], "scores": np.ones((1, 2, 1), np.float32)})
    (tmp_path / "classes.txt").write_text("car\n\ndog\n")
    found = open_detector(DetectorFile(file, tmp_path / "classes.txt", stretch=True))
    assert found.about == "d.onnx, input 64x64, stretched"
    assert found.names == ("car", "dog")
    assert len(found.detect(np.zeros((64, 64, 3), np.uint8))) == 2
    with pytest.raises(ConfigError, match="--layout odd: no such form"):
        open_detector(DetectorFile(file, layout="odd"))
