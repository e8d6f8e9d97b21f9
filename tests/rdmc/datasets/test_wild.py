from dataclasses import replace

import cv2
import numpy as np
import pytest

from rdmc.data.images import Image
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.wild import BARS, GRAIN, PHYSICAL, Wild, render_wild

ONLY = {PHYSICAL: (1.0, 0.0, 0.0), BARS: (0.0, 1.0, 0.0), GRAIN: (0.0, 0.0, 1.0)}
ADDED, BLENDED = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
BARE = Wild(faint=0, hazy=0, blurred=0, noisy=0, compressed=0, signed=0, uneven=0, layers=(1, 0, 0))
"""Streaks only, in one layer."""


def psnr_y(a: Image, b: Image) -> float:
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return float(10 * np.log10(255**2 / max(np.mean(((a.astype(float) - b.astype(float)) @ weights) ** 2), 1e-4)))


def rainy(clean: Image, wild: Wild, seed: int) -> Image:
    return render_wild(clean, wild, np.random.default_rng((seed,)))


def tensor(rain: Image, clean: Image) -> tuple[float, float]:
    """Direction of the streaks, in degrees from the vertical, and how much they agree in it (0 to 1)."""
    down, right = np.gradient((rain.astype(float) - clean).mean(axis=2))
    a, b, c = (right**2).mean(), (down**2).mean(), (right * down).mean()
    return float(-0.5 * np.degrees(np.arctan2(2 * c, a - b))), float(np.hypot(a - b, 2 * c) / (a + b))


@pytest.fixture(scope="module")
def china() -> Image:
    pixels = photograph(next(photo for photo in PHOTOS if photo.name == "china")).pixels
    return np.ascontiguousarray(pixels[100:292, 100:356])


@pytest.fixture(scope="module")
def dark() -> Image:
    return np.full((160, 200, 3), (40, 60, 50), np.uint8)


def test_strengths_enclose_those_of_the_benchmarks(china: Image) -> None:
    found = np.array([psnr_y(rainy(china, Wild(), seed), china) for seed in range(150)])
    assert 22 < np.median(found) < 29
    # Rain200H has 14 dB, and a tenth of Rain100L more than 31
    assert np.percentile(found, 8) < 15.5
    assert np.percentile(found, 90) > 33
    assert ((found > 20) & (found < 30)).mean() > 0.35
    assert found.min() > 5


@pytest.mark.parametrize("manner", [PHYSICAL, BARS, GRAIN])
def test_most_rain_falls_steeply_and_some_slanted(manner: int, dark: Image) -> None:
    angles = np.abs([tensor(rainy(dark, replace(BARE, manners=ONLY[manner]), seed), dark)[0] for seed in range(40)])
    assert (angles < 25).mean() > 0.55
    assert 0.05 < (angles > 30).mean() < 0.4
    assert angles.max() < 70


def test_an_image_can_have_several_directions(dark: Image) -> None:
    crossed = replace(BARE, manners=ONLY[BARS], layers=(0, 0, 1), cross=1, another=0, slanted=1)
    single = replace(crossed, layers=(1, 0, 0))
    agreement = [[tensor(rainy(dark, wild, seed), dark)[1] for seed in range(30)] for wild in (single, crossed)]
    assert np.median(agreement[1]) < np.median(agreement[0]) - 0.15


def test_added_streaks_are_equal_in_all_channels_and_never_darken(dark: Image) -> None:
    for seed in range(10):
        added = rainy(dark, replace(BARE, modes=ADDED), seed).astype(int) - dark
        free = (added + dark).max(axis=2) < 255
        assert added.min() == 0
        assert (np.ptp(added, axis=2)[free] <= 1).all()


def test_added_streaks_saturate() -> None:
    bright = np.full((100, 100, 3), 240, np.uint8)
    levels = rainy(bright, replace(BARE, modes=ADDED, manners=ONLY[BARS], amplitude=(0.9, 0.9)), 0)
    assert levels.max() == 255
    assert levels.min() == 240


def test_blended_streaks_darken_a_bright_sky_and_brighten_a_dark_scene(dark: Image) -> None:
    wild = replace(BARE, modes=BLENDED, sky=(0.6, 0.6), tint=0)
    bright = np.full_like(dark, 250)
    assert (rainy(bright, wild, 0) <= bright).all()
    assert rainy(bright, wild, 0).min() < 240
    assert (rainy(dark, wild, 0) >= dark).all()
    assert rainy(dark, wild, 0).max() > 70


def test_signed_grain_keeps_the_mean_brightness() -> None:
    grey = np.full((160, 200, 3), 128, np.uint8)
    wild = replace(BARE, modes=ADDED, manners=ONLY[GRAIN], signed=1, pedestal=(1, 1), amplitude=(0.2, 0.2))
    difference = rainy(grey, wild, 3).astype(int) - grey
    assert abs(difference.mean()) < 0.5
    assert difference.min() < -2


def test_between_sparse_streaks_the_photograph_is_untouched(china: Image) -> None:
    wild = replace(BARE, manners=ONLY[BARS], curtain=0, cover=(0.03, 0.1), modes=ADDED)
    for seed in range(8):
        assert (rainy(china, wild, seed) == china).all(axis=2).mean() > 0.6


def test_a_faint_rain_leaves_the_photograph_almost_as_it_is(china: Image) -> None:
    found = [psnr_y(rainy(china, replace(BARE, faint=1), seed), china) for seed in range(20)]
    assert min(found) > 25
    assert np.median(found) > 36


def test_haze_and_exposure_change_few_images_and_little(china: Image) -> None:
    without = Wild(manners=ONLY[BARS], amplitude=(0, 0), blurred=0, noisy=0, compressed=0, faint=0)
    shifts = np.array([rainy(china, without, seed).astype(int).mean() - china.mean() for seed in range(120)])
    assert 0.08 < (shifts != 0).mean() <= 0.3
    assert np.abs(shifts).max() < 0.1 * 255


def test_some_images_are_compressed_and_that_comes_last(china: Image) -> None:
    whole = [rainy(china, replace(Wild(), compressed=0), seed) for seed in range(60)]
    compressed = [seed for seed in range(60) if not np.array_equal(rainy(china, Wild(), seed), whole[seed])]
    assert 10 < len(compressed) < 33
    for seed in compressed[:3]:
        candidates = [cv2.imencode(".jpg", whole[seed][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, q])[1] for q in range(60, 96)]
        decoded = [np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1] for data in candidates]
        assert any(np.array_equal(rainy(china, Wild(), seed), image) for image in decoded)


def test_some_images_are_noisy_and_some_out_of_focus(china: Image) -> None:
    still = replace(BARE, amplitude=(0, 0), manners=ONLY[BARS])
    assert np.array_equal(rainy(china, still, 0), china)
    grey = np.full_like(china, 128)
    assert 0.5 < rainy(grey, replace(still, noisy=1), 0).std() < 4.5
    assert np.array_equal(rainy(grey, replace(still, blurred=1), 0), grey)
    assert np.abs(np.diff(rainy(china, replace(still, blurred=1), 0).astype(int), axis=1)).mean() < (
        0.97 * np.abs(np.diff(china.astype(int), axis=1)).mean()
    )


def test_rain_can_be_denser_in_one_place(dark: Image) -> None:
    def unevenness(wild: Wild, seed: int) -> float:
        difference = (rainy(dark, wild, seed).astype(float) - dark).mean(axis=2)
        blocks = difference.reshape(4, 40, 4, 50).mean(axis=(1, 3))
        return float(blocks.std() / blocks.mean())

    even, uneven = (
        np.median([unevenness(replace(BARE, manners=ONLY[GRAIN], uneven=share), seed) for seed in range(10)])
        for share in (0, 1)
    )
    assert uneven > 2 * even


def test_the_photograph_is_not_changed_in_place(china: Image) -> None:
    before = china.copy()
    for seed in range(6):
        rainy(china, Wild(), seed)
    assert np.array_equal(china, before)
