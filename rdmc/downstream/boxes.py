"""Boxes around objects: what a detector finds in an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """The objects found in an image, the highest score first."""

    boxes: Floats
    """(n, 4): x1, y1, x2, y2 in pixels of the image, from its upper left corner."""
    scores: Floats
    """(n,), 0 to 1."""
    labels: NDArray[np.int64]
    """(n,): the class, from 0."""

    @classmethod
    def of(cls, boxes: NDArray[np.number], scores: NDArray[np.number], labels: NDArray[np.number]) -> Detections:
        """Sorted by score. Boxes without an area and scores that are not finite are left out."""
        boxes, scores = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float64).reshape(-1)
        classes = np.asarray(labels).reshape(-1).astype(np.int64)
        good = np.isfinite(boxes).all(1) & np.isfinite(scores) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        kept = np.flatnonzero(good)[np.argsort(-scores[good], kind="stable")]
        return cls(boxes[kept], scores[kept], classes[kept])

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        return self._at(np.flatnonzero(self.scores >= score))

    def within(self, height: int, width: int) -> Detections:
        """The boxes cut at the borders of an image, without those that lie outside it."""
        boxes = self.boxes.clip(0, [width, height, width, height])
        return Detections.of(boxes, self.scores, self.labels)

    def suppressed(self, iou: float, most: int) -> Detections:
        """Without boxes that overlap a better one of their class by more than ``iou``; at most ``most`` are kept."""
        kept: list[int] = []
        for label in np.unique(self.labels):
            left = np.flatnonzero(self.labels == label)
            while len(left):
                kept.append(int(left[0]))
                left = left[1:][overlaps(self.boxes[left[:1]], self.boxes[left[1:]])[0] <= iou]
        return self._at(np.sort(np.array(kept, np.int64))[:most])

    def _at(self, places: NDArray[np.int64]) -> Detections:
        return Detections(self.boxes[places], self.scores[places], self.labels[places])


def overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every two boxes: (n, 4) and (m, 4) -> (n, m)."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    other = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (other - corner).clip(0).prod(2)
    area = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(area[0][:, None] + area[1][None] - shared, 1e-9), np.float64)
