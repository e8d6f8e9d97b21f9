"""PIQE: a plain computation block by block, how it rises with distortions, and what it does not depend on."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.errors import DataError
from rdmc.quality.natural import grey_levels, normalised
from rdmc.quality.piqe import piqe

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photo() -> Image:
    street = next(photo for photo in PHOTOS if photo.name == "street-81")
    return photograph(street).pixels[:320, :400]


def block_by_block(image: Image) -> float:
    """The formulas of the paper with MATLAB's choices, in loops, for sides that are multiples of 16."""
    plane = normalised(grey_levels(image))[0]
    total, active = 0.0, 0
    for top in range(0, plane.shape[0], 16):
        for left in range(0, plane.shape[1], 16):
            block = plane[top : top + 16, left : left + 16]
            variance = float(np.var(block, ddof=1))
            if variance <= 0.1:
                continue
            active += 1
            edges = (block[0], block[15], block[:, 0], block[:, 15])
            if min(np.std(edge[start : start + 6], ddof=1) for edge in edges for start in range(11)) < 0.1:
                total += 1 - variance
            around = np.delete(np.delete(block, 7, 1), 8, 1)
            ratio = np.std(block[:, 7:9], ddof=1) / np.std(around, ddof=1)
            deviation = np.sqrt(variance)
            if deviation > 2 * abs(deviation - ratio) / max(deviation, ratio):
                total += variance
    return 100 * (total + 1) / (active + 1)


def test_it_is_the_formula_block_by_block(photo: Image) -> None:
    part = photo[160:, :160]
    assert piqe(part) == pytest.approx(block_by_block(part), abs=1e-9)


def blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def noisy(image: Image, sigma: float) -> Image:
    return np.clip(image + np.random.default_rng(0).normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("distort", "strengths"), [(blurred, (1, 2, 4)), (noisy, (15, 25, 40))])
def test_it_rises_with_blur_and_noise(
    photo: Image, distort: Callable[[Image, float], Image], strengths: tuple[float, ...]
) -> None:
    found = [piqe(photo), *(piqe(distort(photo, strength)) for strength in strengths)]
    assert found == sorted(found)
    assert found[-1] > found[0] + 20


def test_strong_compression_is_worse_than_weak(photo: Image) -> None:
    worst, middle = (
        np.asarray(cv2.imdecode(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)
        for quality in (5, 30)
    )
    assert piqe(worst) > piqe(middle) + 10


def test_brightness_and_the_order_of_blocks_do_not_matter(photo: Image) -> None:
    grey = np.repeat((photo[..., :1] // 2 + 20), 3, axis=2)
    assert piqe(grey + np.uint8(60)) == pytest.approx(piqe(grey), abs=1e-9)
    assert piqe(photo[::-1].copy()) == pytest.approx(piqe(photo), abs=0.5), "upside down"


@pytest.mark.filterwarnings("error")
def test_an_image_without_texture_is_the_worst() -> None:
    assert piqe(np.full((50, 35, 3), 90, np.uint8)) == 100


def test_a_small_image_is_refused() -> None:
    with pytest.raises(DataError, match="at least 16"):
        piqe(np.zeros((15, 40, 3), np.uint8))
