"""Shifted, exchanged and identical pairs, made from photographs and rendered rain."""

from itertools import product

import numpy as np
import pytest

from rdmc.data.images import Image
from rdmc.datasets.checks import examine, leaning, pixel_digest, shift
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render

NAMES = ("astronaut", "coffee", "chelsea", "china", "flower")
PIXELS = {photo.name: photograph(photo).pixels for photo in PHOTOS if photo.name in NAMES}
CASES = list(product(NAMES, ("light", "heavy")))


def pair(name: str, kind: str) -> tuple[Image, Image]:
    clean = PIXELS[name][:256, :320]
    return render(clean, kind, (1,)), clean


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_good_pair_passes_and_its_exchange_is_detected(name: str, kind: str) -> None:
    rainy, clean = pair(name, kind)
    assert examine(rainy, clean).kind == ""
    found = examine(clean, rainy)
    assert (found.kind, found.certain) == ("swapped", True)
    assert found.psnr_y == examine(rainy, clean).psnr_y


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, -4), (-7, 12)])
def test_a_shift_is_found_to_the_pixel(name: str, kind: str, down: int, right: int) -> None:
    rainy, clean = pair(name, kind)
    moved = clean[16 - down : 240 - down, 16 - right : 304 - right]
    found = examine(np.ascontiguousarray(rainy[16:240, 16:304]), np.ascontiguousarray(moved))
    assert found.kind == "misaligned"
    assert f"clean lies {down} pixels lower and {right} to the right" in found.reason


def test_two_equal_pictures_are_not_a_pair() -> None:
    _, clean = pair("coffee", "light")
    found = examine(clean, clean.copy())
    assert (found.kind, found.certain, found.psnr_y) == ("identical", True, 100.0)


@pytest.mark.parametrize("shape", [(40, 40, 3), (100, 100, 3)])
def test_flat_and_small_pictures_are_not_judged(shape: tuple[int, int, int]) -> None:
    flat = np.full(shape, 90, np.uint8)
    assert examine(flat, flat + 1).kind == ""


def test_exchanging_a_pair_changes_the_signs() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(0, 255, (80, 80)).astype(np.float32) for _ in range(2))
    assert np.allclose(leaning(a, b), -np.array(leaning(b, a)), atol=1e-4)


def test_noise_has_no_shift_that_helps() -> None:
    rng = np.random.default_rng(0)
    assert all(shift(*rng.uniform(0, 255, (2, 96, 96)).astype(np.float32))[1] < 0.5 for _ in range(20))


def test_the_digest_is_of_pixels_and_shape() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert pixel_digest(image) == pixel_digest(image[:, ::-1][:, ::-1])
    assert pixel_digest(image) != pixel_digest(image.reshape(2, 8, 3))


@pytest.mark.parametrize("name", NAMES)
def test_a_veil_over_the_rain_does_not_make_it_look_exchanged(name: str) -> None:
    rainy, clean = pair(name, "light")
    veiled = (0.55 * rainy + 0.45 * 200).astype(np.uint8)
    assert examine(veiled, clean).kind == ""
