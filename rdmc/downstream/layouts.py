"""The forms in which people's exporters write a detector's or a segmenter's outputs, and how each is read.

A form is recognised by the outputs' names and shapes, or named. Detectors give boxes in pixels of their own input, but DETR's
boxes are shares of its sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmc.downstream.boxes import Detections
from rdmc.errors import ConfigError

Outputs = Mapping[str, NDArray[Any]]
"""An output's name -> its values, for one image."""
FINISHED = 1000
"""Most rows of an output that counts as boxes after suppression."""
QUERIES = 2000
"""Most queries of a DETR; other detectors have more places."""
Read = Callable[[Outputs, tuple[int, int]], Detections]


def recognise(outputs: Outputs) -> str:
    """The name of the form in FORMS, or ``logits`` or ``labels`` of a segmenter. Raises ConfigError if it is none of them."""
    shapes = {name: value.shape for name, value in outputs.items()}
    if len(outputs) == 1:
        (shape,) = shapes.values()
        found = _single(shape, next(iter(outputs.values())).dtype)
    else:
        found = _several(outputs)
    if found is None:
        shown = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
        raise ConfigError(
            f"outputs {shown}: no known form; name one of {', '.join(sorted(FORMS))} with --layout, or export another"
        )
    return found


def _single(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str | None:
    if len(shape) == 4 and shape[0] == 1 and shape[1] > 1:
        return "logits"
    if len(shape) == 3 and shape[0] == 1 and dtype.kind in "iu":
        return "labels"
    if len(shape) == 2 and shape[1] == 7:
        return "rows7"
    if len(shape) == 3 and shape[0] == 1:
        if shape[2] == 6 and shape[1] <= FINISHED:
            return "rows6"
        if min(shape[1:]) > 4:
            return "yolov5" if shape[1] > shape[2] else "yolov8"
    return None


def _several(outputs: Outputs) -> str | None:
    if all(_find(outputs, word) is not None for word in ("num", "box", "score", "class")):
        return "counted"
    box, score, label, logit = (_find(outputs, word) for word in ("box", "score", "label", "logit"))
    if box is not None and score is not None and label is not None:
        return "torchvision"
    if box is not None and logit is not None and logit.ndim == 3 and logit.shape[1] <= QUERIES:
        return "detr"
    by_shape = sorted(outputs.values(), key=lambda value: value.shape[-1] != 4)
    if len(by_shape) == 2 and all(value.ndim == 3 for value in by_shape) and by_shape[0].shape[-1] == 4:
        return "scores" if by_shape[0].shape[:2] == by_shape[1].shape[:2] else None
    return None


def _find(outputs: Outputs, word: str) -> NDArray[Any] | None:
    return next((value for name, value in outputs.items() if word in name.lower()), None)


def _need(outputs: Outputs, word: str) -> NDArray[Any]:
    value = _find(outputs, word)
    if value is None:
        raise ConfigError(f"outputs {', '.join(outputs)}: none is named after {word}, which the form needs; name another form")
    return value


def _best(boxes: NDArray[Any], scores: NDArray[Any]) -> Detections:
    """Each box with its best class: (N, 4) and (N, C)."""
    return Detections.of(boxes, scores.max(1), scores.argmax(1))


def _scores(outputs: Outputs, _: tuple[int, int]) -> Detections:
    """``boxes`` (1, N, 4) x1 y1 x2 y2 and ``scores`` (1, N, C)."""
    boxes, scores = sorted(outputs.values(), key=lambda value: value.shape[-1] != 4)
    return _best(boxes[0], scores[0])


def _yolov5(outputs: Outputs, _: tuple[int, int]) -> Detections:
    """(1, N, 5 + C): centre x and y, width, height, whether there is an object, and its class."""
    rows = next(iter(outputs.values()))[0]
    return _best(corners(rows[:, :4]), rows[:, 5:] * rows[:, 4:5] if rows.shape[1] > 5 else rows[:, 4:5])


def _yolov8(outputs: Outputs, _: tuple[int, int]) -> Detections:
    """(1, 4 + C, N): centre x and y, width, height, and the class."""
    rows = next(iter(outputs.values()))[0].T
    return _best(corners(rows[:, :4]), rows[:, 4:])


def _detr(outputs: Outputs, size: tuple[int, int]) -> Detections:
    """``logits`` (1, N, C + 1), the last for no object; ``boxes`` (1, N, 4): centre, width, height as shares of the input."""
    logits = _need(outputs, "logit")[0].astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return _best(corners(_need(outputs, "box")[0]) * [size[1], size[0], size[1], size[0]], shares[:, :-1])


def _torchvision(outputs: Outputs, _: tuple[int, int]) -> Detections:
    """``boxes`` (N, 4) x1 y1 x2 y2, ``labels`` (N,) and ``scores`` (N,), suppressed."""
    return Detections.of(_need(outputs, "box"), _need(outputs, "score"), _need(outputs, "label"))


def _rows6(outputs: Outputs, _: tuple[int, int]) -> Detections:
    """(1, N, 6): x1, y1, x2, y2, score, class, suppressed; empty rows have a score of 0."""
    rows = next(iter(outputs.values()))[0]
    return Detections.of(rows[:, :4], rows[:, 4], rows[:, 5])


def _rows7(outputs: Outputs, _: tuple[int, int]) -> Detections:
    """(N, 7): image, x1, y1, x2, y2, class, score, suppressed."""
    rows = next(iter(outputs.values()))
    return Detections.of(rows[:, 1:5], rows[:, 6], rows[:, 5])


def _counted(outputs: Outputs, _: tuple[int, int]) -> Detections:
    """How many, ``boxes`` (1, N, 4), ``scores`` (1, N) and ``classes`` (1, N), suppressed, as TensorRT's plugin gives them."""
    count = int(_need(outputs, "num").reshape(-1)[0])
    boxes, scores, labels = (_need(outputs, word)[0][:count] for word in ("box", "score", "class"))
    return Detections.of(boxes, scores, labels)


FORMS: Mapping[str, Read] = {
    "scores": _scores,
    "yolov5": _yolov5,
    "yolov8": _yolov8,
    "detr": _detr,
    "torchvision": _torchvision,
    "rows6": _rows6,
    "rows7": _rows7,
    "counted": _counted,
}
"""How the outputs of each form are read, given the height and width of the network's input."""
RAW = ("scores", "yolov5", "yolov8")
"""Forms whose boxes are not suppressed yet."""


def corners(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """x1, y1, x2, y2 of boxes (n, 4) that are given by their centre, width and height."""
    centre, half = np.asarray(boxes[:, :2], np.float64), np.asarray(boxes[:, 2:4], np.float64) / 2
    return np.concatenate([centre - half, centre + half], 1)
