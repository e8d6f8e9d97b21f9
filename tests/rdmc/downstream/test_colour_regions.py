"""The small segmenter: it learns its rule, the same each time, and heavy rain disturbs it."""

from __future__ import annotations

import numpy as np
import pytest

from rdmc.data.images import Image
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render
from rdmc.downstream.colour_regions import CLASSES, ColourRegions
from rdmc.downstream.segmentation import overlap


def some(split: str, count: int) -> list[Image]:
    photos = [photo for photo in PHOTOS if photo.split == split and photo.name.startswith("street")][:count]
    return [np.ascontiguousarray(photograph(photo).pixels[:256, :320]) for photo in photos]


@pytest.fixture(scope="module")
def regions() -> ColourRegions:
    return ColourRegions(some("train", 6), steps=120)


def test_it_learns_its_rule_and_the_rain_destroys_it(regions: ColourRegions) -> None:
    clean = some("test", 3)
    truth = [regions(image) for image in clean]
    assert truth[0].shape == (128, 160)
    assert truth[0].max() < CLASSES
    assert overlap([regions.rule(image) for image in clean], truth).accuracy > 0.6
    rainy = [regions(render(image, "heavy", (number,))) for number, image in enumerate(clean)]
    assert overlap(truth, rainy).miou < 0.8


def test_it_is_the_same_each_time() -> None:
    photographs, image = some("train", 2), some("test", 1)[0]
    one, other = (ColourRegions(photographs, seed=3, steps=5) for _ in range(2))
    assert np.array_equal(one(image), other(image))
