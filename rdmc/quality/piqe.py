"""PIQE, the perception based image quality evaluator: a figure of distortion that needs neither a clean image nor training.

Venkatanath, Praneeth, Chandrasekhar, Channappayya and Medasani, Blind image quality evaluation using perception based
features, NCC 2015. Where the paper leaves a choice, this is as MATLAB's ``piqe``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdmc.metrics import Image, Plane
from rdmc.quality.natural import check_picture, grey_levels, normalised

BLOCK = 16
"""Side of a block in pixels."""
ACTIVE = 0.1
"""A block whose variance is above this is looked at."""
SEGMENT, IMPAIRED = 6, 0.1
"""Pixels of a segment of a block's edge, and the deviation below which a segment looks flat, and so its block impaired."""
CENTRE = (7, 8)
"""The columns that are a block's centre."""
SURROUND = tuple(column for column in range(BLOCK) if column not in (7, 9))
"""The columns around it. MATLAB deletes column 7, and then the column that is the eighth of those left, which was column 9."""
STABLE = 1
"""The paper's constant C, which keeps an image without active blocks from a division by zero."""


def piqe(image: Image) -> float:
    """Return the PIQE of an image, about 0 (best) to 100 (worst). An image without any texture has 100.

    Raises DataError unless it is uint8 (H, W, 3) with no side below 16 pixels.
    """
    check_picture(image, BLOCK)
    grey = grey_levels(image)
    height, width = grey.shape
    whole = np.pad(grey, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge")
    blocks = _blocks(normalised(whole)[0])
    variance = blocks.var(axis=(1, 2), ddof=1)
    blocks, variance = blocks[variance > ACTIVE], variance[variance > ACTIVE]
    distortion = _impaired(blocks) * (1 - variance) + _noisy(blocks, variance) * variance
    return float(100 * (distortion.sum() + STABLE) / (len(blocks) + STABLE))


def _blocks(plane: Plane) -> NDArray[np.float64]:
    """Return the blocks of a plane: (n, 16, 16)."""
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    return plane.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)


def _impaired(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each block whether any segment of its four edges is flat, as blocks of a compressed image have it: (n)."""
    edges = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    segments = np.lib.stride_tricks.sliding_window_view(edges, SEGMENT, axis=2)
    return np.asarray((segments.std(axis=3, ddof=1) < IMPAIRED).any(axis=(1, 2)))


def _noisy(blocks: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each block whether it looks like noise: its centre deviates as its surround does: (n)."""
    if not len(blocks):
        return np.zeros(0, bool)
    deviation = np.sqrt(variance)
    centre = blocks[:, :, CENTRE].std(axis=(1, 2), ddof=1)
    surround = blocks[:, :, SURROUND].std(axis=(1, 2), ddof=1)
    ratio = np.divide(centre, surround, out=np.zeros_like(centre), where=surround > 0)
    beta = np.abs(deviation - ratio) / np.maximum(deviation, ratio)
    return np.asarray(deviation > 2 * beta)
