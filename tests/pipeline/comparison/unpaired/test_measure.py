"""Figures without a clean image: the library's measures, the share of pixels changed, and means over what has a measure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.comparison.unpaired.measure import CHANGED, WildResult, compared, means
from rdmc.errors import DataError
from rdmc.quality.niqe import niqe
from rdmc.quality.piqe import piqe
from tests.support.data import scene


def result(before: float, after: float) -> WildResult:
    return WildResult("a.png", 10, 10, {"niqe": before}, {"niqe": after}, 0.5, 1.0, 0.1)


def test_a_change_is_a_share_and_a_size() -> None:
    rainy = np.full((100, 100, 3), 100, np.uint8)
    derained = rainy.copy()
    derained[:30, :, 1] -= CHANGED
    derained[30:40, :, 2] -= CHANGED - 1
    found = compared("a/b.png", rainy, derained, 0.25)
    assert found.changed == pytest.approx(0.3)
    assert found.mean_change == pytest.approx((0.3 * CHANGED + 0.1 * (CHANGED - 1)) / 3)
    assert (found.image, found.height, found.width, found.seconds) == ("a/b.png", 100, 100, 0.25)
    assert compared("same", rainy, rainy, 0).changed == 0


def test_the_measures_are_those_of_the_library() -> None:
    clean = np.tile(scene(0), (3, 3, 1))[:200, :200]
    noisy = (clean.astype(int) + np.random.default_rng(0).integers(-30, 30, clean.shape)).clip(0, 255).astype(np.uint8)
    found = compared("a", noisy, clean, 0)
    assert found.before == {"niqe": niqe(noisy), "piqe": piqe(noisy)}
    assert found.after == {"niqe": niqe(clean), "piqe": piqe(clean)}


def test_an_image_that_is_too_small_for_a_measure_has_none() -> None:
    small = scene(0)[:40, :40]
    found = compared("small", small, small, 0)
    assert math.isnan(found.before["niqe"])
    assert math.isnan(found.before["niqe"])
    assert found.after["piqe"] >= 0
    with pytest.raises(DataError, match="small: .* the rule is one size"):
        compared("small", small, small[:-1], 0)


def test_means_are_over_the_images_that_have_a_measure_on_both_sides() -> None:
    found = means([result(4, 3), result(6, 7), result(math.nan, 1), result(1, math.nan), result(2, 1)], "niqe")
    assert (found.images, found.before) == (3, 4)
    assert found.after == pytest.approx(11 / 3)
    assert found.better == pytest.approx(2 / 3)
    none = means([result(math.nan, 1)], "niqe")
    assert none.images == 0
    assert math.isnan(none.better)
