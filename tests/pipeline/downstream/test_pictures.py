"""The versions side by side: as wide as they say, with a frame where the box is."""

from __future__ import annotations

import numpy as np

from pipeline.downstream.pictures import CAPTION, GAP, TITLE, WIDTH, side_by_side
from rdmc.downstream.boxes import Detections


def test_boxes_are_drawn_where_they_are() -> None:
    image = np.full((240, 480, 3), 128, np.uint8)
    box = Detections.of(np.array([[100, 50, 200, 150], [10, 10, 20, 20]]), np.array([0.9, 0.1]), np.array([1, 1]))
    nothing = Detections.of(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    sheet = side_by_side("a", {"rainy": image, "derained": image}, {"rainy": nothing, "derained": box}, ("a", "b"))
    assert sheet.shape == (TITLE + CAPTION + 240 + GAP, GAP + 2 * (WIDTH + GAP), 3)
    left, right = (sheet[TITLE + CAPTION :, x : x + WIDTH] for x in (GAP, GAP + WIDTH + GAP))
    assert (left[:240] == 128).all(), "nothing is drawn over the image"
    changed = (right[:240] != 128).any(2)
    assert changed[50, 100:200].all()
    assert changed[50:150, 200].all()
    assert not changed[:40, :40].any(), "scores below the limit are not shown"
