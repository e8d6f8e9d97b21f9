"""The contact sheet: where each picture is, and how large they are."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.comparison.unpaired import sheet
from pipeline.comparison.unpaired.sheet import CAPTION, COLUMNS, GAP, HEIGHT, WIDTH, SheetPair, contact_sheet, small


def pair(level: int, caption: str = "name") -> SheetPair:
    rainy = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    return SheetPair(caption, rainy, 255 - rainy)


def test_large_images_fit_their_room_and_small_ones_stay() -> None:
    assert small(np.zeros((1000, 500, 3), np.uint8)).shape == (HEIGHT, HEIGHT // 2, 3)
    assert small(np.zeros((100, 2600, 3), np.uint8)).shape == (10, WIDTH, 3)
    assert small(np.zeros((5, 9000, 3), np.uint8)).shape == (1, WIDTH, 3)
    assert small(np.full((20, 30, 3), 7, np.uint8)).shape == (20, 30, 3)


def test_pairs_stand_row_by_row_with_a_caption() -> None:
    drawn = contact_sheet([pair(10 * number) for number in range(COLUMNS + 2)])
    assert drawn.shape == (2 * (HEIGHT + CAPTION + GAP) + GAP, COLUMNS * (2 * WIDTH + GAP) + GAP, 3)
    for number in range(COLUMNS + 2):
        row, column = divmod(number, COLUMNS)
        top, left = GAP + row * (HEIGHT + CAPTION + GAP), GAP + column * (2 * WIDTH + GAP)
        assert (drawn[top + CAPTION + HEIGHT // 2, left + WIDTH // 2] == 10 * number).all()
        assert (drawn[top + CAPTION + HEIGHT // 2, left + WIDTH + WIDTH // 2] == 255 - 10 * number).all()
        assert drawn[top : top + CAPTION, left : left + 60].min() < 128, "a caption"
    assert (drawn[-HEIGHT:, -WIDTH:] == 255).all(), "nothing is where no pair is"


def test_a_long_name_keeps_its_end_and_the_sheet_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "MOST", 2)
    assert contact_sheet([pair(0, "x" * 500)] * 9).shape[1] == 2 * (2 * WIDTH + GAP) + GAP
    drawn = contact_sheet([pair(0, "x" * 500)] * 2)
    assert (drawn[GAP : GAP + CAPTION, GAP + 2 * WIDTH + 1 : GAP + 2 * WIDTH + GAP - 2] == 255).all()
    assert contact_sheet([]).shape[2] == 3
