"""PSNR and SSIM by each convention of published deraining tables, under a name of its own.

The same output has up to 2 dB more or less by another convention, so a figure means little without its name. A convention is
two choices: what the figures are computed on (``Colours``), and how the network's output became whole levels (``Levels``).

In all of them the data range is 255, for luma too. SSIM is Gaussian: 11x11, sigma 1.5, K1 0.01, K2 0.03, population
covariances, averaged over the positions where the window fits (MATLAB's code of the authors of SSIM; scikit-image with
``gaussian_weights=True, use_sample_covariance=False`` is the same). SSIM of RGB is the mean of the three channels.

The PSNR of identical images is infinite. ``mean`` leaves such images out of the mean PSNR, and returns how many there were.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rdmc.errors import ConfigError, DataError
from rdmc.metrics import PEAK, WINDOW, Image, Plane, check_pair, luma, mean_ssim

Colours = Literal["luma", "rounded luma", "RGB"]
"""What figures are computed on: luma by MATLAB's BT.601 formula on floats, the same rounded to whole levels as MATLAB's
``rgb2ycbcr`` returns it for a uint8 image, or red, green and blue."""
Levels = Literal["rounded", "cut"]
"""How an output in 0..1 becomes 0 to 255: rounded to the nearest level, or cut to the whole level below."""


@dataclass(frozen=True)
class Convention:
    """One way to compute PSNR and SSIM of an output."""

    name: str
    colours: Colours
    levels: Levels
    meaning: str
    """One line."""
    users: str
    """Who publishes figures by it, as far as it is known."""


CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        "y",
        "luma",
        "rounded",
        "luma on floats (16 to 235, not rounded), output rounded to whole levels",
        "this project; Python code that computes luma on floats",
    ),
    Convention(
        "y8",
        "rounded luma",
        "rounded",
        "luma rounded to whole levels, output rounded to whole levels",
        "MATLAB's rgb2ycbcr on uint8 images, as in MPRNet's and Restormer's evaluation scripts",
    ),
    Convention(
        "rgb",
        "RGB",
        "rounded",
        "red, green and blue together, output rounded to whole levels",
        "derain-toolbox; tables marked RGB",
    ),
    Convention(
        "y-cut",
        "luma",
        "cut",
        "luma on floats, output cut to whole levels",
        "PReNet: its test script saves outputs cut, its MATLAB script computes luma on floats",
    ),
    Convention(
        "y8-cut",
        "rounded luma",
        "cut",
        "luma rounded to whole levels, output cut to whole levels",
        "MATLAB's rgb2ycbcr on uint8 images that a Python script saved by astype(uint8)",
    ),
    Convention(
        "rgb-cut",
        "RGB",
        "cut",
        "red, green and blue together, output cut to whole levels",
        "RGB figures of outputs that a Python script saved by astype(uint8)",
    ),
)
"""The table of conventions. The first is the project's own. docs/leaderboard.md shows it."""
NAMES = tuple(convention.name for convention in CONVENTIONS)


class Fidelity(NamedTuple):
    """PSNR in dB, infinite for identical images, and SSIM, -1 to 1."""

    psnr: float
    ssim: float


class MeanFidelity(NamedTuple):
    """Means over images, each image counted once."""

    psnr: float
    """dB, over the images that are not identical to their clean ones; infinite if all are, NaN without images."""
    ssim: float
    """Over all images; NaN without images."""
    images: int
    identical: int
    """How many of the images are identical to their clean ones, and so not in the mean PSNR."""


def convention(name: str) -> Convention:
    """Return the convention of a name. Raises ConfigError that lists all names."""
    for known in CONVENTIONS:
        if known.name == name:
            return known
    raise ConfigError(f"{name!r}: no such convention; name one of {', '.join(NAMES)}")


def score(output: NDArray[Any], clean: Image, how: Convention) -> Fidelity:
    """Return PSNR and SSIM of an output against its clean image, by one convention.

    Args:
        output: (H, W, 3) RGB: floats in 0..1, which ``whole_levels`` converts, or uint8, which is taken as it is.
        clean: (H, W, 3) RGB, uint8.
        how: the convention.

    Raises DataError for other shapes, types, sizes or values, and for a side below 11 pixels, where SSIM has no value.
    """
    return _score(whole_levels(output, how.levels), clean, how.colours)


def scores(output: NDArray[Any], clean: Image) -> dict[str, Fidelity]:
    """Return ``score`` by every convention, under its name. Raises DataError as ``score`` does."""
    found: dict[str, Fidelity] = {}
    known: dict[tuple[Colours, bool], Fidelity] = {}
    for how in CONVENTIONS:
        key = (
            how.colours,
            output.dtype != np.uint8 and how.levels == "cut",
        )  # levels that are whole already are the same by both
        if key not in known:
            known[key] = score(output, clean, how)
        found[how.name] = known[key]
    return found


def whole_levels(output: NDArray[Any], levels: Levels) -> Image:
    """Return an output in levels 0 to 255: (H, W, 3) uint8. An array of uint8 is returned as it is.

    ``cut`` is ``numpy.uint8(255 * output)``, as PReNet's test script has it, in the output's own precision.

    Raises DataError for another shape or type, a value that is not finite, and a float outside of 0..1.
    """
    if output.ndim != 3 or output.shape[2] != 3 or not output.size:
        raise DataError(f"a prediction of shape {output.shape}: the rule is (height, width, 3); convert it first")
    if output.dtype == np.uint8:
        return output
    if output.dtype.kind != "f":
        raise DataError(f"a prediction of {output.dtype}: the rule is uint8, or floats in 0..1; convert it first")
    low, high = float(output.min()), float(output.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError("a prediction with NaN or infinite values has no figures; check the network's weights and its input")
    if low < 0 or high > 1:
        raise DataError(
            f"a prediction with floats from {low:g} to {high:g}: the rule is 0..1; clamp it, or divide levels by 255 first"
        )
    scaled = output * output.dtype.type(255)
    return np.asarray(np.rint(scaled) if levels == "rounded" else scaled).astype(np.uint8)


def luma_levels(image: Image) -> Plane:
    """Return luma rounded to whole levels, (H, W), as MATLAB's ``rgb2ycbcr`` returns it for (H, W, 3) uint8 RGB."""
    return np.floor(luma(image) + 0.5)  # MATLAB rounds halves up, numpy to even


def mean(found: Iterable[Fidelity]) -> MeanFidelity:
    """Return the means over images. Images that are identical to their clean ones are left out of the mean PSNR alone."""
    every = list(found)
    finite = [one.psnr for one in every if math.isfinite(one.psnr)]
    if not every:
        return MeanFidelity(math.nan, math.nan, 0, 0)
    psnr = math.fsum(finite) / len(finite) if finite else math.inf
    return MeanFidelity(psnr, math.fsum(one.ssim for one in every) / len(every), len(every), len(every) - len(finite))


def _score(output: Image, clean: Image, colours: Colours) -> Fidelity:
    check_pair(output, clean, WINDOW)
    a: Image | Plane = output
    b: Image | Plane = clean
    if colours != "RGB":
        plane = luma if colours == "luma" else luma_levels
        a, b = plane(output), plane(clean)
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return Fidelity(math.inf if error == 0 else 10 * math.log10(PEAK**2 / error), mean_ssim(a, b))
