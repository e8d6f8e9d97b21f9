"""The same two objects in every form that exporters write: each is recognised and read alike."""

from __future__ import annotations

import numpy as np
import pytest

from rdmc.downstream.layouts import FORMS, Outputs, corners, recognise
from rdmc.errors import ConfigError
from tests.support.onnx_models import OBJECTS

SIZE = (64, 128)
"""Height and width of the input."""
PLACES = 50
SCORES, LABELS = np.array([0.9, 0.6], np.float32), np.array([1, 0])
CENTRES = np.concatenate([(OBJECTS[:, :2] + OBJECTS[:, 2:]) / 2, OBJECTS[:, 2:] - OBJECTS[:, :2]], 1)


def rows(width: int, filled: np.ndarray) -> np.ndarray:
    """(1, PLACES, width) of which the first two rows are given and the others are empty."""
    found = np.zeros((1, PLACES, width), np.float32)
    found[0, :2] = filled
    return found


def classes() -> np.ndarray:
    found = np.zeros((2, 3), np.float32)
    found[[0, 1], LABELS] = SCORES
    return found


def forms() -> dict[str, Outputs]:
    logits = np.full((1, PLACES, 4), -20, np.float32)
    logits[0, :, 3] = 0
    for number, (label, score) in enumerate(zip(LABELS, SCORES, strict=True)):
        logits[0, number, label] = np.log(score / (1 - score))
    ends = {"box": np.array(OBJECTS), "score": SCORES, "label": LABELS}
    column = np.concatenate([OBJECTS, SCORES[:, None], LABELS[:, None]], 1)
    return {
        "scores": {"a": rows(4, OBJECTS), "b": rows(3, classes())},
        "yolov5": {"output": rows(8, np.concatenate([CENTRES, np.ones((2, 1)), classes()], 1))},
        "yolov8": {"output0": rows(7, np.concatenate([CENTRES, classes()], 1)).transpose(0, 2, 1)},
        "detr": {"pred_logits": logits, "pred_boxes": rows(4, CENTRES / [SIZE[1], SIZE[0], SIZE[1], SIZE[0]])},
        "torchvision": {f"{name}s": value for name, value in ends.items()},
        "rows6": {"output": rows(6, column)},
        "rows7": {"output": np.concatenate([np.zeros((2, 1)), OBJECTS, LABELS[:, None], SCORES[:, None]], 1)},
        "counted": {
            "num_dets": np.array([[2]]),
            "det_boxes": rows(4, OBJECTS),
            "det_scores": rows(1, SCORES[:, None])[..., 0],
            "det_classes": rows(1, LABELS[:, None])[..., 0].astype(np.int64),
        },
    }


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_form_is_recognised_and_read(form: str) -> None:
    outputs = forms()[form]
    assert recognise(outputs) == form
    found = FORMS[form](outputs, SIZE).above(0.05)
    np.testing.assert_allclose(found.boxes, OBJECTS, atol=1e-3)
    np.testing.assert_allclose(found.scores, SCORES, atol=1e-6)
    assert found.labels.tolist() == LABELS.tolist()


def test_label_maps_are_recognised() -> None:
    assert recognise({"out": np.zeros((1, 19, 8, 8), np.float32)}) == "logits"
    assert recognise({"out": np.zeros((1, 8, 8), np.int64)}) == "labels"


@pytest.mark.parametrize(
    "outputs",
    [
        {"embedding": np.zeros((1, 128))},
        {"a": np.zeros((1, 9, 4)), "b": np.zeros((1, 8, 80))},
        {"a": np.zeros((1, 9, 4)), "b": np.zeros((1, 9, 80)), "c": np.zeros(3)},
    ],
    ids=["vector", "lengths", "third"],
)
def test_other_outputs_are_an_error_of_one_line(outputs: Outputs) -> None:
    with pytest.raises(ConfigError, match="no known form; name one of counted, detr, .* with --layout") as error:
        recognise(outputs)
    assert "\n" not in str(error.value)


def test_a_named_form_that_the_outputs_lack_is_an_error() -> None:
    with pytest.raises(ConfigError, match="none is named after logit"):
        FORMS["detr"]({"boxes": np.zeros((1, 2, 4))}, SIZE)


def test_corners_of_centred_boxes() -> None:
    assert corners(np.array([[10, 20, 4, 8]])).tolist() == [[8, 16, 12, 24]]
