"""Pictures of results: which images are chosen, what a panel contains, and sizes that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.evaluation.plots import FULL_ERROR, LONGEST, choose, gain_histogram, learning_curve, panel

Image = NDArray[np.uint8]


def image(height: int, width: int, level: int) -> Image:
    return np.full((height, width, 3), (level, 0, 0), np.uint8)


def has(sheet: Image, colour: tuple[int, int, int], pixels: int) -> bool:
    """Whether at least ``pixels`` pixels of the sheet have exactly this colour."""
    return int((sheet == np.array(colour, np.uint8)).all(2).sum()) >= pixels


@pytest.mark.parametrize(
    ("gains", "count", "expected"),
    [
        ([3, 1, 2, 5, 4], 2, [1, 3]),
        ([3, 1, 2, 5, 4], 3, [1, 0, 3]),
        ([3, 1, 2, 5, 4], 1, [0]),
        ([3, 1, 2, 5, 4], 9, [1, 2, 0, 4, 3]),
        ([1, 1, 1], 2, [0, 2]),
        ([7], 4, [0]),
        ([7, 8], 0, []),
        ([], 2, []),
    ],
)
def test_the_worst_the_best_and_images_between_are_chosen(gains: list[float], count: int, expected: list[int]) -> None:
    assert choose(gains, count) == expected


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (900, 1400), (1, 1), (3, 2000)])
def test_a_panel_contains_the_images_pixel_by_pixel(height: int, width: int) -> None:
    figures = {"psnr_y": 20.0, "ssim_y": 0.5}
    sheet = panel("a", image(height, width, 200), image(height, width, 100), image(height, width, 10), figures, figures)
    assert sheet.dtype == np.uint8
    scale = min(1, LONGEST / max(height, width))
    pixels = max(1, int(height * scale)) * max(1, int(width * scale))
    assert all(has(sheet, (level, 0, 0), pixels) for level in (200, 100, 10))
    assert max(sheet.shape) <= 4 * LONGEST + 200


def test_error_maps_share_one_scale() -> None:
    clean = np.zeros((40, 50, 3), np.uint8)
    figures = {"psnr_y": 20.0, "ssim_y": 0.5}
    brightest = panel("a", clean, clean + np.uint8(FULL_ERROR), clean, figures, figures)
    beyond = panel("a", clean, clean + np.uint8(2 * FULL_ERROR), clean, figures, figures)
    assert has(brightest, (252, 255, 164), 40 * 50), "the end of the inferno colours"
    assert has(beyond, (252, 255, 164), 40 * 50)


def test_the_gain_shows_its_sign_in_colour() -> None:
    clean = np.zeros((40, 50, 3), np.uint8)
    low, high = {"psnr_y": 20.0, "ssim_y": 0.5}, {"psnr_y": 25.0, "ssim_y": 0.9}
    assert has(panel("a", clean, clean, clean, low, high), (26, 127, 55), 10)
    assert has(panel("a", clean, clean, clean, high, low), (207, 34, 46), 10)


def test_charts_accept_missing_values() -> None:
    assert gain_histogram({"light": [3.0]}).shape[2] == 3
    two = gain_histogram({"light": [3.0, -1.0, 0.0], "heavy": [80.0]})
    assert np.array_equal(two, gain_histogram({"light": [3.0, -1.0, 0.0], "heavy": [80.0]}))
    rows = [{"step": 100.0, "loss": 0.5}, {"step": 200.0, "loss": 0.25, "psnr_y": 20.0, "ssim_y": 0.7}]
    full = learning_curve(rows)
    assert not np.array_equal(full, learning_curve(rows[:1])), "the validation is drawn"
    assert learning_curve([]).shape == full.shape


@pytest.mark.parametrize("sign", [1, -1])
def test_the_loss_is_drawn_with_either_sign(sign: int) -> None:
    steps = [{"step": float(step)} for step in range(10)]
    drawn = learning_curve([{**row, "loss": sign * (30 - row["step"])} for row in steps])
    ink = [int((sheet == (31, 35, 40)).all(2).sum()) for sheet in (learning_curve(steps), drawn)]
    assert ink[1] > ink[0] + 500, "a line across the panel"
