"""Pairs of different scenes, and clean pictures that were mirrored, blanked, recoloured or enlarged."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rdmc.data.images import Image
from rdmc.datasets.checks import examine
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render
from rdmc.datasets.scenes import doubt_scene

NAMES = ("astronaut", "coffee", "chelsea", "china", "flower")
CLEAN = {photo.name: photograph(photo).pixels[:240, :320] for photo in PHOTOS if photo.name in NAMES}
RAINY = {name: render(clean, "light", (1,)) for name, clean in CLEAN.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_of_different_scenes_is_set_aside(name: str) -> None:
    others = [other for other in NAMES if other != name]
    found = [examine(RAINY[name], CLEAN[other]) for other in others]
    assert [(verdict.kind, verdict.certain) for verdict in found] == [("scene", True)] * len(others)


def test_rain_over_a_clear_sky_is_no_other_scene() -> None:
    rows = np.linspace(90, 170, 96, dtype=np.float32)[:, None, None]
    grain = np.random.default_rng(0).normal(0, 1, (96, 128, 1))
    sky = (rows + grain + np.zeros((96, 128, 3))).clip(0, 255).astype(np.uint8)
    for seed in range(4):
        doubt = doubt_scene(render(sky, "light", (seed,)), sky)
        assert doubt is None or not doubt.certain


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("turned", lambda clean: clean[:, ::-1]),
        ("turned", lambda clean: clean[::-1]),
        ("turned", lambda clean: clean[::-1, ::-1]),
        ("blank", np.zeros_like),
        ("blank", lambda clean: np.full_like(clean, 255)),
        ("channels", lambda clean: clean[..., ::-1]),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_clean_picture_is_found(name: str, kind: str, change: object) -> None:
    assert callable(change)
    changed = np.ascontiguousarray(change(CLEAN[name]))
    assert examine(RAINY[name], changed).kind == kind


@pytest.mark.parametrize("side", ["astronaut", "coffee"])
def test_a_square_picture_that_was_turned_is_found(side: str) -> None:
    rainy, clean = (np.ascontiguousarray(pictures[side][:240, :240]) for pictures in (RAINY, CLEAN))
    found = examine(rainy, np.ascontiguousarray(np.rot90(clean)))
    assert (found.kind, found.certain) == ("turned", True)


def resized(image: Image, factor: int) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize("factor", [2, 4])
def test_most_enlarged_clean_pictures_are_shown_and_no_original(factor: int) -> None:
    found = [examine(RAINY[name], resized(CLEAN[name], factor)).kind for name in NAMES]
    assert found.count("enlarged") >= 3
    assert "enlarged" not in [examine(RAINY[name], CLEAN[name]).kind for name in NAMES]
