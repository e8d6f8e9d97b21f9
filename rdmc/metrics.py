"""PSNR and SSIM of whole images, by the conventions of published deraining results.

Images are uint8 arrays of (H, W, 3) in RGB. Luma is MATLAB's BT.601 ``rgb2ycbcr`` on floats, 16 to 235, not rounded. All
figures use 255 as the data range, for luma too, as the field does. The mean over a set of images is the mean of the images'
figures. Each image counts once, whatever its size. These are the figures that the project trains, chooses and reports by;
``rdmc.quality.conventions`` has the other conventions of published tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rdmc.errors import DataError

Image = NDArray[np.uint8]
Plane = NDArray[np.float64]

PEAK = 255.0
BEST_PSNR = 100.0
"""PSNR in dB of identical images. Theirs is infinite; this keeps a mean over images finite."""
WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of SSIM's Gaussian window, in pixels."""
ROWS = 64
"""Rows of an image whose SSIM is computed at a time: its planes then stay in the processor's cache."""
LUMA = np.array([65.481, 128.553, 24.966]) / 255
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def luma(image: Image) -> Plane:
    """Convert (H, W, 3) uint8 RGB to (H, W) BT.601 luma, 16 to 235, not rounded."""
    return np.asarray(image @ LUMA + 16.0, dtype=np.float64)


def psnr(a: Image, b: Image) -> float:
    """Return the PSNR in dB over all pixels and the three channels together; at most ``BEST_PSNR``. Raises DataError."""
    check_pair(a, b)
    levels = np.bincount(cv2.absdiff(a, b).ravel(), minlength=256)  # how often each difference occurs: exact, and fast
    return _decibel(float(levels @ np.arange(256) ** 2) / a.size)


def psnr_y(a: Image, b: Image) -> float:
    """Return the PSNR in dB of the luma; at most ``BEST_PSNR``. Raises DataError."""
    check_pair(a, b)
    return _psnr(luma(a), luma(b))


def ssim(a: Image, b: Image) -> float:
    """Return the mean SSIM of red, green and blue, -1 to 1. Raises DataError, also for a side below ``WINDOW``."""
    check_pair(a, b, WINDOW)
    return mean_ssim(a, b)


def ssim_y(a: Image, b: Image) -> float:
    """Return the SSIM of the luma, -1 to 1. Raises DataError, also for a side below ``WINDOW``."""
    check_pair(a, b, WINDOW)
    return mean_ssim(luma(a), luma(b))


def measure_luma(derained: Image, clean: Image) -> dict[str, float]:
    """Return psnr_y and ssim_y of an image against its clean one. Raises DataError."""
    check_pair(derained, clean, WINDOW)
    planes = luma(derained), luma(clean)
    return {"psnr_y": _psnr(*planes), "ssim_y": mean_ssim(*planes)}


def measure(derained: Image, clean: Image) -> dict[str, float]:
    """Return four figures of an image against its clean one: psnr_y, ssim_y, psnr_rgb, ssim_rgb. Raises DataError."""
    return {**measure_luma(derained, clean), "psnr_rgb": psnr(derained, clean), "ssim_rgb": ssim(derained, clean)}


@dataclass
class Means:
    """Sums of figures and their count. They are divided once, so that the sums of several workers can be added first."""

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, figures: Mapping[str, float]) -> None:
        """Add one image's figures. Every image must have the same ones, else ValueError is raised."""
        if self.count and figures.keys() != self.sums.keys():
            raise ValueError(f"figures {sorted(figures)} are not those of the images before, {sorted(self.sums)}")
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def mean(self) -> dict[str, float]:
        """Return the mean of each figure; empty before the first ``add``."""
        return {name: total / self.count for name, total in self.sums.items()}


def check_pair(a: NDArray[Any], b: NDArray[Any], smallest: int = 1) -> None:
    """Raise DataError unless both are uint8 (H, W, 3) of one size with no side below ``smallest``."""
    for image in (a, b):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(f"an image of {image.dtype} {image.shape}: metrics take uint8 (height, width, 3); convert it first")
    if a.shape != b.shape:
        raise DataError(f"images of {_size(a)} and {_size(b)}: a pair has one size; check that they belong together")
    if min(a.shape[:2]) < smallest:
        raise DataError(f"an image of {_size(a)}: SSIM needs sides of at least {smallest} pixels; leave the image out")


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _psnr(a: Plane, b: Plane) -> float:
    return _decibel(float(np.mean((a - b) ** 2)))


def _decibel(error: float) -> float:
    """Return the PSNR of a mean squared error."""
    return BEST_PSNR if error == 0 else min(BEST_PSNR, float(10 * np.log10(PEAK**2 / error)))


def mean_ssim(a: Image | Plane, b: Image | Plane) -> float:
    """Return the mean SSIM of two arrays of (H, W) or (H, W, C), levels 0 to 255.

    Covariances are those of the population. The mean is over the positions where the Gaussian window fits. The caller has
    checked that the shapes are equal and no side is below ``WINDOW``.
    """
    border = WINDOW - 1
    height, width = a.shape[0] - border, a.shape[1] - border
    total = 0.0
    for top in range(0, height, ROWS):
        rows = slice(top, min(top + ROWS, height) + border)
        total += float(np.sum(_ssim_map(a[rows].astype(np.float64), b[rows].astype(np.float64))))
    channels: int = a.size // (a.shape[0] * a.shape[1])
    return float(total / (height * width * channels))


def _ssim_map(a: Plane, b: Plane) -> Plane:
    mean_a, mean_b = _blur(a), _blur(b)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    variances = _blur(a * a + b * b) - squares  # of both images together
    covariance = _blur(a * b) - product
    return (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))


def _blur(x: Plane) -> Plane:
    """Return the Gaussian window means of (H, W[, C]), without the border where the window does not fit."""
    edge = WINDOW // 2
    return np.asarray(cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA)[edge:-edge, edge:-edge], dtype=np.float64)
