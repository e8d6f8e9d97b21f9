"""PSNR and SSIM against hand values, two other implementations, and a published benchmark."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.metrics
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import structural_similarity_index_measure

from rdmc.data.images import read_rgb
from rdmc.errors import DataError
from rdmc.metrics import BEST_PSNR, LUMA, Means, luma, measure, psnr, psnr_y, ssim, ssim_y

RAIN100L = Path(__file__).parents[3] / "shared/data/rain100l"
Image = NDArray[np.uint8]


def flat(red: int, green: int, blue: int, height: int = 16, width: int = 24) -> Image:
    return np.full((height, width, 3), (red, green, blue), np.uint8)


@pytest.fixture(params=[(40, 61), (11, 11), (97, 33), (74, 20), (75, 20), (202, 15)], ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[Image, Image]:
    rng = np.random.default_rng(0)
    smooth = np.asarray(cv2.GaussianBlur(rng.integers(0, 256, (*request.param, 3)).astype(np.uint8), (7, 7), 2), np.uint8)
    noisy = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    return smooth, noisy


def test_hand_values() -> None:
    assert psnr(flat(0, 0, 0), flat(255, 255, 255)) == 0
    assert psnr(flat(10, 20, 30), flat(11, 21, 31)) == pytest.approx(20 * math.log10(255))
    assert psnr(flat(10, 20, 30), flat(13, 20, 30)) == pytest.approx(10 * math.log10(255**2 / 3))
    assert luma(flat(255, 255, 255))[0, 0] == pytest.approx(235)
    assert luma(flat(0, 0, 0))[0, 0] == 16
    assert luma(flat(255, 0, 0))[0, 0] == pytest.approx(16 + 65.481), "red comes first"
    assert psnr_y(flat(0, 100, 0), flat(0, 101, 0)) == pytest.approx(20 * math.log10(255 / LUMA[1]))
    mean = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert ssim(flat(100, 100, 100), flat(120, 120, 120)) == pytest.approx(mean, abs=1e-9), "without structure: the mean term"


def test_identical_images(pair: tuple[Image, Image]) -> None:
    assert measure(pair[0], pair[0]) == {"psnr_y": BEST_PSNR, "ssim_y": 1, "psnr_rgb": BEST_PSNR, "ssim_rgb": 1}


def test_against_scikit_image(pair: tuple[Image, Image]) -> None:
    reference: Any = skimage.metrics  # untyped
    how = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    a, b = luma(pair[0]), luma(pair[1])
    assert psnr(*pair) == pytest.approx(reference.peak_signal_noise_ratio(*pair, data_range=255), abs=1e-9)
    assert psnr_y(*pair) == pytest.approx(reference.peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9)
    assert ssim_y(*pair) == pytest.approx(reference.structural_similarity(a, b, **how), abs=1e-9)
    assert ssim(*pair) == pytest.approx(reference.structural_similarity(*pair, channel_axis=2, **how), abs=1e-9)


def test_against_torchmetrics(pair: tuple[Image, Image]) -> None:
    a, b = (torch.from_numpy(image).permute(2, 0, 1)[None].double() for image in pair)
    every = structural_similarity_index_measure(a, b, data_range=255.0, return_full_image=True)[1]
    assert ssim(*pair) == pytest.approx(float(every[..., 5:-5, 5:-5].mean()), abs=1e-6), "without its padded border"


def test_measure_holds_the_four_figures(pair: tuple[Image, Image]) -> None:
    expected = {"psnr_y": psnr_y(*pair), "ssim_y": ssim_y(*pair), "psnr_rgb": psnr(*pair), "ssim_rgb": ssim(*pair)}
    assert measure(*pair) == expected


def test_means_divide_once() -> None:
    means = Means()
    assert means.mean() == {}
    for value in (1.0, 2.0, 6.0):
        means.add({"psnr_y": value})
    assert (means.sums, means.count, means.mean()) == ({"psnr_y": 9.0}, 3, {"psnr_y": 3.0})
    with pytest.raises(ValueError, match="ssim_y"):
        means.add({"ssim_y": 1.0})


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        (flat(0, 0, 0, 16, 24), flat(0, 0, 0, 24, 16), "24x16 and 16x24"),
        (flat(0, 0, 0).astype(np.float32), flat(0, 0, 0), "float32"),
        (flat(0, 0, 0)[..., 0], flat(0, 0, 0)[..., 0], "uint8"),
        (flat(0, 0, 0, 10, 24), flat(0, 0, 0, 10, 24), "at least 11"),
    ],
)
def test_images_that_cannot_be_measured_are_refused(a: Image, b: Image, match: str) -> None:
    with pytest.raises(DataError, match=match):
        ssim_y(a, b)


@pytest.mark.skipif(not RAIN100L.is_dir(), reason="Rain100L is not beside this checkout (shared/data/rain100l)")
def test_published_rain100l() -> None:
    """The rainy inputs of the 50 even pairs of Rain100L's test set: 27.38 dB and 0.8425 (of all 100: 26.90, 0.838)."""
    means = Means()
    for path in sorted(RAIN100L.glob("norain-*.png")):
        clean, rainy = (read_rgb(p) for p in (path, path.parent / "rainy" / path.name.removeprefix("no")))
        means.add({"psnr_y": psnr_y(rainy, clean), "ssim_y": ssim_y(rainy, clean)})
    assert means.count == 50
    assert means.mean() == {"psnr_y": pytest.approx(27.38, abs=5e-3), "ssim_y": pytest.approx(0.8425, abs=5e-5)}
