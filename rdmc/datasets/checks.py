"""Is a rainy and a clean picture a pair? Identical, shifted or exchanged ones are told from those that only look odd.

Rain adds thin bright streaks. So of the two pictures the rainy one has more fine detail (what a Gaussian of ``FINE`` pixels
removes), and its detail that the clean one does not share leans to the bright side: its skewness is above zero. Exchanged
pairs change both signs. Mean brightness tells nothing: some benchmarks render rain that darkens. Drops on glass blur what
lies behind them and look exchanged: `prepare.judge_sides: false` is for them. docs/datasets.md has what was measured.

A shift is the peak of the phase correlation of both lumas (Kuglin and Hines, 1975); rain has peaks of its own, so it only
counts where moving the clean picture back makes the pair clearly more alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rdmc.data.images import Image
from rdmc.data.pairs import Fault, PairEntry, sha256
from rdmc.metrics import psnr_y

Plane = NDArray[np.float32]

WINDOW = 512
"""Shifts and exchanges are looked for in the middle square of at most this many pixels a side."""
LEAST = 64
"""Pairs with a shorter side hold too few pixels to be judged by them."""
FINE = 3.0
"""Sigma in pixels of the Gaussian that is taken away to leave the fine detail."""
SUSPECT, CERTAIN = (-0.1, -0.05), (-0.2, -0.1)
"""Skewness and log energy ratio (rainy to clean) below which a pair may be, or is, exchanged."""
BETTER, CLEARLY = 0.5, 1.0
"""dB by which the shift found must improve the PSNR: for a warning, and for quarantine."""
LITTLE = 1e-3
"""Keeps flat pictures from a division by nothing."""
FARTHEST = 0.25
"""Larger shifts, as a share of the window's side, are noise of the correlation."""


@dataclass(frozen=True)
class PairVerdict:
    """What the pixels of a pair say."""

    psnr_y: float
    """PSNR in dB of the rainy picture's luma, the measure by which copies of a benchmark are recognised."""
    kind: str = ""
    """identical, misaligned or swapped; empty where nothing is wrong."""
    reason: str = ""
    certain: bool = True
    """False: to be shown and not to be set aside."""


@dataclass(frozen=True)
class Made:
    """What became of one pair: an entry, with a warning or none; or a fault."""

    entry: PairEntry | None = None
    fault: Fault | None = None
    warning: Fault | None = None
    split: str = ""
    psnr_y: float | None = None
    """None where the pair could not be read."""
    digest: str = ""
    """SHA-256 of the rainy picture's pixels."""


def examine(rainy: Image, clean: Image) -> PairVerdict:
    """Look at a pair of one size, both (H, W, 3), RGB, 0 to 255. Raises DataError where the sizes differ."""
    measured = psnr_y(rainy, clean)
    if np.array_equal(rainy, clean):
        return PairVerdict(measured, "identical", "rainy and clean are the same picture; one of them is a copy by mistake")
    if min(rainy.shape[:2]) < LEAST:
        return PairVerdict(measured)
    planes = _luma(rainy), _luma(clean)
    (down, right), gain = shift(*planes)
    if gain >= BETTER:
        reason = f"clean lies {down} pixels lower and {right} to the right of rainy ({gain:.1f} dB); shift or remove the pair"
        return PairVerdict(measured, "misaligned", reason, certain=gain >= CLEARLY)
    lean = leaning(*planes)
    if lean[0] < SUSPECT[0] and lean[1] < SUSPECT[1]:
        reason = (
            f"the clean one has the streaks (skewness {lean[0]:.2f}, detail {lean[1]:.2f}); exchange them or remove the pair"
        )
        return PairVerdict(measured, "swapped", reason, certain=lean[0] < CERTAIN[0] and lean[1] < CERTAIN[1])
    return PairVerdict(measured)


def shift(rainy: Plane, clean: Plane) -> tuple[tuple[int, int], float]:
    """How far (down, right; whole pixels) ``clean`` lies from ``rainy``, and the dB that moving it back would gain.

    Both lumas are (H, W). (0, 0) and 0.0 where they lie on each other.
    """
    window = cv2.createHanningWindow(rainy.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(rainy, clean, window)
    near = round(y), round(x)
    if near == (0, 0) or abs(near[0]) > FARTHEST * rainy.shape[0] or abs(near[1]) > FARTHEST * rainy.shape[1]:
        return (0, 0), 0.0
    edge = abs(near[0]) + 1, abs(near[1]) + 1
    around = [(near[0] + down, near[1] + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]  # rain pulls at the peak
    errors = {place: _mse(*_overlap(rainy, clean, place, edge)) for place in around}
    best = min(around, key=lambda place: errors[place])
    return best, float(10 * np.log10(_mse(*_overlap(rainy, clean, (0, 0), edge)) / errors[best]))


def leaning(rainy: Plane, clean: Plane) -> tuple[float, float]:
    """How much more bright detail ``rainy`` has, and the log of both energies of detail: above zero for most rain.

    The first is the skewness of what is left of the rainy detail without its share of the clean one, less the same the
    other way round, halved; so a veil that lowers the contrast changes nothing. Both lumas are (H, W); exchanging them
    changes both signs.
    """
    a, b = (plane - np.asarray(cv2.GaussianBlur(plane, (0, 0), FINE), dtype=np.float32) for plane in (rainy, clean))
    energy_a, energy_b, both = (float(np.mean(x * y)) for x, y in ((a, a), (b, b), (a, b)))
    energy_a, energy_b = energy_a + LITTLE, energy_b + LITTLE
    more = (_skewness(a - both / energy_b * b) - _skewness(b - both / energy_a * a)) / 2
    return more, float(np.log(energy_a / energy_b))


def pixel_digest(image: Image) -> str:
    """SHA-256 (hex) of the pixels and the shape: equal for files that show the same, however they are written."""
    return sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())


def _luma(image: Image) -> Plane:
    """(H, W, 3) -> the middle of it as (h, w), 0 to 255."""
    height, width = image.shape[:2]
    top, left = max((height - WINDOW) // 2, 0), max((width - WINDOW) // 2, 0)
    middle = np.ascontiguousarray(image[top : top + WINDOW, left : left + WINDOW])
    return np.asarray(cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _skewness(plane: Plane) -> float:
    centred = plane - plane.mean()
    squares = centred * centred
    return float(np.mean(squares * centred) / (np.mean(squares) + LITTLE) ** 1.5)


def _mse(a: Plane, b: Plane) -> float:
    return float(np.mean((a - b) ** 2)) + LITTLE


def _overlap(rainy: Plane, clean: Plane, place: tuple[int, int], edge: tuple[int, int]) -> tuple[Plane, Plane]:
    """Both planes without a border of ``edge`` (tall, wide), ``clean`` read at ``place`` (down, right) of it."""
    (height, width), (down, right), (tall, wide) = rainy.shape, place, edge
    moved = clean[tall + down : height - tall + down, wide + right : width - wide + right]
    return rainy[tall : height - tall, wide : width - wide], moved
