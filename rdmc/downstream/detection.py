"""Object detection: what a detector finds in an image, and how it compares with annotations or with its own finds elsewhere."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rdmc.data.images import Image
from rdmc.downstream.boxes import Detections, overlaps
from rdmc.downstream.inputs import InputRule
from rdmc.downstream.layouts import FORMS, RAW, Outputs, recognise
from rdmc.errors import ConfigError

Detector = Callable[[Image], Detections]
"""Finds objects in an image (H, W, 3), RGB, 0 to 255. Any function will do."""
LEAST, SUPPRESSION, MOST = 0.05, 0.6, 100
"""The least score that is kept, for the precision over all scores; the overlap that is suppressed; most boxes of an image."""


class NetworkDetector:
    """A detector that is a network of others, such as ``rdmc.downstream.network.OnnxNetwork``."""

    def __init__(self, network: Callable[[Any], Outputs], rule: InputRule, form: str = "", path: Path | None = None) -> None:
        """``form``: one of FORMS; recognised by the first outputs if it is empty. Raises ConfigError for another one."""
        if form and form not in FORMS:
            raise ConfigError(f"--layout {form}: no such form; name one of {', '.join(sorted(FORMS))}")
        self._network, self._rule, self.form, self._path = network, rule, form, path

    def __call__(self, image: Image) -> Detections:
        """The objects in an image. Raises ConfigError where the outputs have no known form."""
        outputs = self._network(self._rule.prepare(image))
        self.form = self.form or recognise(outputs)
        if self.form not in FORMS:
            raise ConfigError(f"{self._path or 'the network'}: is no detector, its outputs are {self.form}; use --segmenter")
        found = FORMS[self.form](outputs, (self._rule.height, self._rule.width)).above(LEAST)
        across, down = self._rule.scale(image)
        scaled = Detections.of(found.boxes / [across, down, across, down], found.scores, found.labels)
        inside = scaled.within(*image.shape[:2])
        return inside.suppressed(SUPPRESSION, MOST) if self.form in RAW else inside.suppressed(1.0, MOST)


@dataclass(frozen=True)
class Agreement:
    """How the objects that were found compare with those that are there."""

    there: int
    found: int
    right: int
    """Objects of both with one class and an overlap of ``IOU`` or more, each counted once."""
    ap50: float
    """COCO's average precision at an overlap of 0.5, mean over the classes that are there, 0 to 1; -1 if there is none."""
    ap: float
    """The same, mean over overlaps of 0.5 to 0.95."""

    @property
    def recall(self) -> float:
        """The share of the objects that were found, 0 to 1; 1 if there is none."""
        return self.right / self.there if self.there else 1.0

    @property
    def precision(self) -> float:
        """The share of the finds that are right, 0 to 1; 1 if there is none."""
        return self.right / self.found if self.found else 1.0


IOU, SCORE = 0.5, 0.3
"""The overlap from which two boxes show one object, and the score from which a box counts as found."""


def agreement(truth: Sequence[Detections], found: Sequence[Detections], score: float = SCORE) -> Agreement:
    """Compare what was found in each image with what is there. Of ``found``, the counts take the boxes of ``score`` or more."""
    clear = [one.above(score) for one in found]
    right = sum(_right(one, other) for one, other in zip(truth, clear, strict=True))
    ap, ap50 = average_precision(truth, found)
    return Agreement(sum(map(len, truth)), sum(map(len, clear)), right, ap50, ap)


def _right(truth: Detections, found: Detections) -> int:
    """How many of ``truth`` are found: each find, the best first, takes the object of its class that it overlaps most."""
    both = overlaps(found.boxes, truth.boxes) * (found.labels[:, None] == truth.labels[None])
    count = 0
    for row in range(len(found)):
        if len(truth) and both[row].max() >= IOU:
            both[:, int(both[row].argmax())] = 0
            count += 1
    return count


def average_precision(truth: Sequence[Detections], found: Sequence[Detections]) -> tuple[float, float]:
    """COCO's average precision, at overlaps of 0.5 to 0.95 and at 0.5, by pycocotools; -1 if there is no object.

    Raises ConfigError where pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ConfigError("average precision needs pycocotools; run `pip install -c constraints.txt pycocotools`") from None
    rows = [row for image, one in enumerate(truth) for row in _rows(image, one)]
    if not rows:
        return -1.0, -1.0
    answers = [row for image, one in enumerate(found) for row in _rows(image, one)]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        known: Any = COCO()
        known.dataset = {
            "images": [{"id": image + 1} for image in range(len(truth))],
            "categories": [{"id": label} for label in sorted({row["category_id"] for row in rows + answers})],
            "annotations": [{"id": at + 1, "iscrowd": 0, **row} for at, row in enumerate(rows)],
        }
        known.createIndex()
        if not answers:
            return 0.0, 0.0
        judged = COCOeval(known, known.loadRes(answers), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0]), float(judged.stats[1])


def _rows(image: int, found: Detections) -> list[dict[str, Any]]:
    sizes = found.boxes[:, 2:] - found.boxes[:, :2]
    return [
        {
            "image_id": image + 1,
            "category_id": int(label) + 1,
            "bbox": [*box[:2].tolist(), *size.tolist()],
            "area": float(np.prod(size)),
            "score": float(score),
        }
        for box, size, label, score in zip(found.boxes, sizes, found.labels, found.scores, strict=True)
    ]
