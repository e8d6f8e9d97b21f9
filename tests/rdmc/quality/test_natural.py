"""Local normalisation, and the fit of generalised Gaussians to known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from rdmc.errors import DataError
from rdmc.quality.natural import check_picture, fit, grey_levels, normalised


def test_a_fit_finds_known_shapes() -> None:
    rng = np.random.default_rng(0)
    gauss, laplace = rng.normal(0, 2, 200_000), rng.laplace(0, 3, 200_000)
    found = fit(np.stack([gauss, laplace]))
    assert found.shape == pytest.approx([2, 1], abs=0.03)
    assert found.left == pytest.approx([2 * np.sqrt(2), 3], rel=0.02), "a Gaussian's scale is its deviation times root two"
    assert found.right == pytest.approx(found.left, rel=0.02)
    assert found.mean == pytest.approx([0, 0], abs=0.05)


def test_a_fit_finds_the_two_sides() -> None:
    values = np.random.default_rng(0).normal(0, 1, 200_000)
    lopsided = np.where(values < 0, values, 3 * values)[None]
    found, mirrored = fit(lopsided), fit(-lopsided)
    assert found.right[0] / found.left[0] == pytest.approx(3, rel=0.02)
    assert (mirrored.left[0], mirrored.right[0]) == pytest.approx((found.right[0], found.left[0]))
    assert mirrored.mean[0] == pytest.approx(-found.mean[0])
    assert mirrored.shape[0] == found.shape[0]


@pytest.mark.filterwarnings("error")
def test_blocks_without_values_on_a_side_are_fitted() -> None:
    found = fit(np.array([[0.0, 0, 0, 0], [1, 2, 3, 4]]))
    assert np.isfinite(np.stack(found)).all()
    assert (found.left.tolist(), found.right[0]) == ([0, 0], 0)


def test_normalisation_removes_brightness() -> None:
    image = np.random.default_rng(0).integers(40, 200, (20, 30, 3)).astype(np.uint8)
    plane, deviation = normalised(grey_levels(image))
    brighter, same = normalised(grey_levels(image) + 30)
    assert brighter == pytest.approx(plane, abs=1e-9)
    assert same == pytest.approx(deviation, abs=1e-6)
    assert not normalised(np.full((9, 9), 7.0))[0].any()


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((20, 15, 3), np.uint8), "15x20: the measure needs sides of at least 16"),
        (np.zeros((20, 20), np.uint8), r"uint8 \(20, 20\): the measure takes uint8 \(height, width, 3\)"),
        (np.zeros((20, 20, 3), np.float32), "float32"),
    ],
)
def test_pictures_that_cannot_be_measured_are_refused(image: np.ndarray, match: str) -> None:
    with pytest.raises(DataError, match=match):
        check_picture(image, 16)
