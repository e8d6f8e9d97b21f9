"""Detection: boxes come back into the image, agreement and average precision have known values, and a real detector."""

from __future__ import annotations

import numpy as np
import pytest

from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render
from rdmc.downstream.boxes import Detections
from rdmc.downstream.detection import NetworkDetector, agreement, average_precision
from rdmc.downstream.inputs import InputRule
from rdmc.downstream.network import OnnxNetwork
from rdmc.errors import ConfigError
from tests.support.imports import ROOT
from tests.support.onnx_models import OBJECTS

NANODET = ROOT.parent / "shared/weights/nanodet_coco80.onnx"
SCORES = np.array([[[0.1, 0.9], [0.6, 0.2], [0.6, 0.2]]], np.float32)


def network(_: object) -> dict[str, np.ndarray]:
    """The two objects, the second twice."""
    return {"boxes": np.concatenate([OBJECTS, OBJECTS[1:] + 1])[None], "scores": SCORES}


def boxes(*rows: tuple[float, float, float, float], scores: tuple[float, ...] = (), label: int = 0) -> Detections:
    given = np.array(scores) if scores else np.ones(len(rows))
    return Detections.of(np.array(rows), given, np.full(len(rows), label))


def test_boxes_come_back_into_the_image_and_doubles_are_suppressed() -> None:
    detect = NetworkDetector(network, InputRule(64, 64))
    found = detect(np.zeros((128, 120, 3), np.uint8))  # the input is half the image
    np.testing.assert_allclose(found.boxes, OBJECTS * 2, atol=1e-4)
    assert found.labels.tolist() == [1, 0]
    assert detect.form == "scores"


def test_outputs_of_a_segmenter_and_unknown_forms_are_refused() -> None:
    with pytest.raises(ConfigError, match="is no detector, its outputs are logits; use --segmenter"):
        NetworkDetector(lambda _: {"out": np.zeros((1, 5, 8, 8))}, InputRule(8, 8))(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ConfigError, match="--layout own: no such form"):
        NetworkDetector(network, InputRule(8, 8), "own")


def test_each_object_is_found_once_and_only_with_its_class() -> None:
    truth = [boxes((0, 0, 10, 10), (20, 20, 40, 40)), boxes((5, 5, 9, 9), label=1)]
    found = [
        boxes((0, 0, 10, 11), (0, 0, 10, 10), (70, 70, 80, 80), (20, 20, 40, 40), scores=(0.9, 0.8, 0.7, 0.2)),
        boxes((5, 5, 9, 9), label=2),
    ]
    result = agreement(truth, found)
    assert (result.there, result.found, result.right) == (3, 4, 1), "one object has a score below 0.3, one another class"
    assert result.recall == pytest.approx(1 / 3)
    assert result.precision == pytest.approx(1 / 4)
    nothing = agreement([boxes()], [boxes()])
    assert (nothing.recall, nothing.precision, nothing.ap50) == (1.0, 1.0, -1.0)


def test_average_precision_is_cocos() -> None:
    truth = [boxes((0, 0, 10, 10), (20, 20, 40, 40))]
    assert average_precision(truth, truth) == pytest.approx((1, 1))
    half = [boxes((0, 0, 10, 10), (60, 60, 70, 70), scores=(0.9, 0.8))]
    assert average_precision(truth, half)[1] == pytest.approx(51 / 101), "precision 1 up to recall 0.5, of 101 points"
    late = [boxes((60, 60, 70, 70), (0, 0, 10, 10), (20, 20, 40, 40), scores=(0.9, 0.8, 0.7))]
    assert average_precision(truth, late)[1] == pytest.approx(2 / 3, abs=0.01), "a false find comes first"
    loose = [boxes((0, 0, 10, 7), (20, 20, 40, 40))]
    assert average_precision(truth, loose)[1] == pytest.approx(1)
    assert average_precision(truth, loose)[0] < 0.8, "an overlap of 0.7 counts at five of ten limits"
    assert average_precision(truth, [boxes()]) == (0.0, 0.0)


@pytest.mark.skipif(not NANODET.is_file(), reason="needs ../shared/weights: a detector")
def test_a_real_detector_finds_less_in_the_rain() -> None:
    network = OnnxNetwork(NANODET)
    detect = NetworkDetector(network, InputRule(*network.size))
    clean = [photograph(photo).pixels for photo in PHOTOS if photo.split == "test"][:6]
    truth = [detect(image).above(0.3) for image in clean]
    assert detect.form == "scores"
    again = agreement(truth, [detect(image) for image in clean])
    assert again.there > 5
    assert again.recall == 1
    assert again.ap50 == pytest.approx(1)
    rainy = agreement(truth, [detect(render(image, "heavy", (number,))) for number, image in enumerate(clean)])
    assert rainy.recall < 0.7
