"""Conventions of PSNR and SSIM: hand values, scikit-image, identical images, bad predictions, and known fingerprints."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.metrics
from numpy.typing import NDArray

from rdmc.datasets.layouts import Hints, find_pairs
from rdmc.errors import ConfigError, DataError
from rdmc.metrics import luma, measure
from rdmc.quality.conventions import (
    CONVENTIONS,
    NAMES,
    Fidelity,
    convention,
    luma_levels,
    mean,
    score,
    scores,
    whole_levels,
)
from tests.support.imports import ROOT

SHARED = ROOT.parent / "shared"
FINGERPRINTS = {  # published or known mean PSNR of rainy inputs: luma and, where known, SSIM of luma and PSNR of RGB
    "rain100l": (27.38, 0.8425, None),
    "rain200h-samples": (13.85, None, None),
    "rain1400-sample": (25.22, None, None),
    "rain800": (22.59, None, 21.15),
}
Image = NDArray[np.uint8]


@pytest.fixture
def pair() -> tuple[NDArray[np.float32], Image]:
    """An output in 0..1 with values between the levels, and a clean image."""
    rng = np.random.default_rng(0)
    clean = np.asarray(cv2.GaussianBlur(rng.integers(0, 256, (40, 61, 3)).astype(np.uint8), (7, 7), 2), np.uint8)
    output = np.clip(clean / 255 + rng.normal(0, 0.04, clean.shape), 0, 1).astype(np.float32)
    return output, clean


def by_scikit_image(a: NDArray[Any], b: NDArray[Any]) -> Fidelity:
    reference: Any = skimage.metrics  # untyped
    channels = {"channel_axis": 2} if a.ndim == 3 else {}
    how = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, **channels}
    return Fidelity(
        float(reference.peak_signal_noise_ratio(a, b, data_range=255)), float(reference.structural_similarity(a, b, **how))
    )


def test_every_convention_agrees_with_scikit_image(pair: tuple[NDArray[np.float32], Image]) -> None:
    output, clean = pair
    found = scores(output, clean)
    assert list(found) == list(NAMES)
    for how in CONVENTIONS:
        levels = np.rint(output * 255) if how.levels == "rounded" else np.floor(output * 255)
        plane = {"luma": luma, "rounded luma": luma_levels, "RGB": np.asarray}[how.colours]
        expected = by_scikit_image(plane(levels.astype(np.uint8)), plane(clean))  # type: ignore[operator]
        assert found[how.name] == score(output, clean, how)
        assert found[how.name] == pytest.approx(expected, abs=1e-6)
    assert len({value.psnr for value in found.values()}) == len(NAMES), "each convention has another figure"


def test_the_first_convention_is_the_projects_own(pair: tuple[NDArray[np.float32], Image]) -> None:
    levels = np.rint(pair[0] * 255).astype(np.uint8)
    own, found = measure(levels, pair[1]), scores(*pair)
    assert CONVENTIONS[0].name == "y"
    assert [*found["y"], *found["rgb"]] == pytest.approx(
        [own[f"{kind}_{c}"] for c in ("y", "rgb") for kind in ("psnr", "ssim")]
    )


def test_levels_are_rounded_or_cut() -> None:
    values = np.array([[[0, 1, 0.5 / 255], [1.4 / 255, 1.6 / 255, 254.9 / 255]]])
    assert whole_levels(values, "rounded").tolist() == [[[0, 255, 0], [1, 2, 255]]]
    assert whole_levels(values, "cut").tolist() == [[[0, 255, 0], [1, 1, 254]]]
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert whole_levels(levels, "cut") is levels
    known = scores(levels, levels[::-1].copy())
    assert known["y"] == known["y-cut"]


def test_rounded_luma_is_that_of_matlab() -> None:
    """MATLAB: rgb2ycbcr(uint8(cat(3, 255, 0, 0))) is 81 (81.481), of white 235, of black 16, of (1, 2, 3) 18 (17.559)."""
    colours = np.array([[[255, 0, 0], [255, 255, 255], [0, 0, 0], [1, 2, 3]]], np.uint8)
    assert luma_levels(colours).tolist() == [[81, 235, 16, 18]]


def test_identical_images_are_infinite_and_left_out_of_the_mean(pair: tuple[NDArray[np.float32], Image]) -> None:
    clean = pair[1]
    same = scores(clean, clean)
    assert all(value == (math.inf, 1) for value in same.values())
    found = mean([Fidelity(30, 0.9), same["y"], Fidelity(34, 0.8)])
    assert list(found) == pytest.approx([32, 0.9, 3, 1])
    assert mean([same["y"]]) == (math.inf, 1, 1, 1)
    assert math.isnan(mean([]).psnr)
    assert mean([]).images == 0


def changed(value: float) -> NDArray[np.float32]:
    output = np.full((16, 16, 3), 0.5, np.float32)
    output[3, 4, 1] = value
    return output


@pytest.mark.parametrize(
    ("output", "match"),
    [
        (changed(math.nan), "NaN or infinite"),
        (changed(math.inf), "NaN or infinite"),
        (changed(1.5), "from 0.5 to 1.5: the rule is 0..1"),
        (changed(-0.01), "-0.01"),
        (np.zeros((16, 16), np.float32), r"\(16, 16\): the rule is \(height, width, 3\)"),
        (np.zeros((0, 16, 3), np.float32), "shape"),
        (np.zeros((16, 16, 3), np.int64), "int64: the rule is uint8"),
        (np.zeros((16, 17, 3), np.float32), "17x16 and 16x16"),
    ],
)
def test_a_bad_prediction_is_one_clear_error(output: NDArray[Any], match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        scores(output, np.zeros((16, 16, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_images_below_the_window_have_no_ssim() -> None:
    with pytest.raises(DataError, match="at least 11"):
        scores(np.zeros((10, 16, 3), np.uint8), np.zeros((10, 16, 3), np.uint8))


def test_names_are_known_or_refused() -> None:
    assert convention("y-cut").levels == "cut"
    with pytest.raises(ConfigError, match="'luma': no such convention; name one of y, y8, rgb, y-cut"):
        convention("luma")


@pytest.mark.slow
@pytest.mark.parametrize("name", FINGERPRINTS)
def test_rainy_inputs_have_the_known_figures(name: str) -> None:
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/data/{name}")
    found: dict[str, list[Fidelity]] = {"y": [], "rgb": []}
    for match in find_pairs(folder, Hints(split="test")).matches:
        if match.split == "test":
            rainy, clean = (picture.pixels for picture in match.read())
            for how, values in found.items():
                values.append(score(rainy, clean, convention(how)))
    psnr_y, ssim_y, psnr_rgb = FINGERPRINTS[name]
    assert mean(found["y"]).psnr == pytest.approx(psnr_y, abs=0.0051)
    if ssim_y:
        assert mean(found["y"]).ssim == pytest.approx(ssim_y, abs=5e-5)
    if psnr_rgb:
        assert mean(found["rgb"]).psnr == pytest.approx(psnr_rgb, abs=0.0051)
