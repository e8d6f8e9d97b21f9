"""What the no-reference measures share: grey levels, local normalisation, and a fit of its distribution.

Natural images, less their local mean and divided by their local deviation, have values that follow a generalised Gaussian
distribution. Distortions change its shape. The fit of an asymmetric generalised Gaussian is by moments (Lasmar et al.,
Multiscale skewed heavy tailed model for texture analysis, ICIP 2009).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from rdmc.errors import DataError
from rdmc.metrics import Image, Plane

SIDE, SIGMA = 7, 7 / 6
"""Side and standard deviation of the Gaussian window of the local mean and deviation, in pixels."""
SHAPES = (0.2, 10.0, 0.001)
"""First, last and step of the shapes that a fit tries."""


class Fits(NamedTuple):
    """Parameters of asymmetric generalised Gaussians, one for each of n blocks: arrays of (n)."""

    shape: NDArray[np.float64]
    """2 for a Gaussian, 1 for a Laplacian."""
    left: NDArray[np.float64]
    """Scale of the values below zero."""
    right: NDArray[np.float64]
    """Scale of the values above zero."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean of each distribution."""
        return np.asarray((self.right - self.left) * np.exp(gammaln(2 / self.shape) - gammaln(1 / self.shape)))


def check_picture(image: NDArray[np.uint8], smallest: int) -> None:
    """Raise DataError unless ``image`` is uint8 (H, W, 3) with no side below ``smallest``."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"an image of {image.dtype} {image.shape}: the measure takes uint8 (height, width, 3); convert it first"
        )
    if min(image.shape[:2]) < smallest:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise DataError(f"an image of {size}: the measure needs sides of at least {smallest} pixels; leave the image out")


def normalised(grey: Plane) -> tuple[Plane, Plane]:
    """Return (grey - local mean) / (local deviation + 1) and the local deviation, both (H, W), of levels 0 to 255.

    The border is replicated, as MATLAB's functions for NIQE and PIQE do.
    """
    mean = _window(grey)
    deviation = np.sqrt(np.abs(_window(grey * grey) - mean * mean))
    return (grey - mean) / (deviation + 1), deviation


def fit(blocks: NDArray[np.float64]) -> Fits:
    """Return the parameters of each of n blocks, (n, values). A block of zeros alone has the largest shape and no scale."""
    below, above = np.minimum(blocks, 0), np.maximum(blocks, 0)
    left = np.sqrt(np.sum(below**2, 1) / np.maximum(np.sum(blocks < 0, 1), 1))
    right = np.sqrt(np.sum(above**2, 1) / np.maximum(np.sum(blocks > 0, 1), 1))
    ratio = np.minimum(left, right) / np.maximum(np.maximum(left, right), np.finfo(float).tiny)  # the next formula is symmetric
    power = np.maximum(np.mean(blocks**2, 1), np.finfo(float).tiny)
    flatness = np.mean(np.abs(blocks), 1) ** 2 / power
    wanted = flatness * ((ratio**3 + 1) / (ratio**2 + 1)) * ((ratio + 1) / (ratio**2 + 1))
    shapes, ratios = _ratios()
    place = np.clip(np.searchsorted(ratios, wanted), 1, len(ratios) - 1)  # the ratios rise with the shape
    shape = shapes[place - (wanted - ratios[place - 1] < ratios[place] - wanted)]
    scale = np.exp((gammaln(1 / shape) - gammaln(3 / shape)) / 2)
    return Fits(shape, left * scale, right * scale)


@cache
def _ratios() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shapes that a fit tries, and of each the squared mean absolute value over the mean square."""
    first, last, step = SHAPES
    shapes = np.arange(first, last + step, step)
    return shapes, np.exp(2 * gammaln(2 / shapes) - gammaln(1 / shapes) - gammaln(3 / shapes))


def _window(plane: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (SIDE, SIDE), SIGMA, borderType=cv2.BORDER_REPLICATE), np.float64)


def grey_levels(image: Image) -> Plane:
    """Return (H, W) grey levels 0 to 255, rounded, of (H, W, 3) uint8 RGB, as MATLAB's ``rgb2gray`` does."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float64)
