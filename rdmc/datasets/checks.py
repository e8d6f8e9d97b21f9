"""Check whether a rainy and a clean picture are a pair: find identical, shifted and exchanged ones, and what ``scenes`` finds.

Rain adds thin bright streaks. So the rainy picture has more fine detail (what a Gaussian of ``FINE`` pixels removes), and its
detail that the clean one does not share is mostly bright: its skewness is above zero. Exchanging the pair changes both
signs. Mean brightness decides nothing, because some benchmarks render rain that darkens. Drops on glass blur the background
and look exchanged; `prepare.judge_sides: false` is for them. docs/data.md has the measurements.

A shift is the peak of the phase correlation of both lumas (Kuglin and Hines, 1975). Rain causes peaks too, so a shift only
counts if moving the clean picture back makes the pair clearly more alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rdmc.data.images import Image
from rdmc.data.pairs import Fault, PairEntry, sha256
from rdmc.datasets import scenes
from rdmc.metrics import psnr_y

Plane = NDArray[np.float32]

WINDOW = 512
"""Shifts and exchanges are detected in the central square of at most this many pixels a side."""
LEAST = 64
"""Pairs with a shorter side, in pixels, have too few pixels to be judged."""
FINE = 3.0
"""Sigma in pixels of the Gaussian that is subtracted to leave the fine detail."""
SUSPECT, CERTAIN = (-0.1, -0.05), (-0.2, -0.1)
"""Skewness and log energy ratio (rainy to clean) below which a pair may be exchanged, and below which it is."""
BETTER, CLEARLY = 0.5, 1.0
"""dB by which the detected shift must improve the PSNR: for a warning, and for quarantine."""
LITTLE = 1e-3
"""Added to avoid a division by zero for flat pictures."""
FARTHEST = 0.25
"""Largest shift, as a share of the window's side. Larger ones are noise of the correlation."""


@dataclass(frozen=True)
class PairVerdict:
    """The result of examining the pixels of a pair."""

    psnr_y: float
    """PSNR in dB of the rainy picture's luma, which identifies copies of a benchmark."""
    kind: str = ""
    """identical, misaligned, swapped or a kind of ``scenes.Doubt``; empty if nothing is wrong."""
    reason: str = ""
    certain: bool = True
    """False: warn about the pair, but do not set it aside."""


@dataclass(frozen=True)
class Made:
    """The result for one pair: an entry, perhaps with a warning; or a fault."""

    entry: PairEntry | None = None
    fault: Fault | None = None
    warning: Fault | None = None
    split: str = ""
    psnr_y: float | None = None
    """PSNR in dB of the rainy luma; None if the pair could not be read."""
    digest: str = ""
    """SHA-256 of the rainy picture's pixels."""
    converted: Sequence[Fault] = ()
    """The pair's files that were converted to 8-bit RGB, each with what it was."""

    def to_plain(self) -> dict[str, Any]:
        """Return the result as plain data for JSON, which ``from_plain`` reads."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Made:
        """Return the result that ``to_plain`` wrote."""
        entry = PairEntry(**plain["entry"]) if plain["entry"] else None
        fault, warning = (Fault(**plain[name]) if plain[name] else None for name in ("fault", "warning"))
        return cls(
            **{
                **plain,
                "entry": entry,
                "fault": fault,
                "warning": warning,
                "converted": [Fault(**one) for one in plain["converted"]],
            }
        )


def examine(rainy: Image, clean: Image) -> PairVerdict:
    """Examine a pair of one size, both (H, W, 3), RGB, 0 to 255. Raises DataError if the sizes differ."""
    measured = psnr_y(rainy, clean)
    if np.array_equal(rainy, clean):
        return PairVerdict(measured, "identical", "rainy and clean are the same picture; one of them is a copy by mistake")
    if min(rainy.shape[:2]) < LEAST:
        return PairVerdict(measured)
    if found := scenes.doubt_view(rainy, clean):
        return PairVerdict(measured, found.kind, found.reason, found.certain)
    planes = _luma(rainy), _luma(clean)
    (down, right), gain = shift(*planes)
    if gain >= BETTER and scenes.same_scene(*_overlap(*planes, (down, right), (abs(down) + 1, abs(right) + 1))):
        reason = f"clean lies {down} pixels lower and {right} to the right of rainy ({gain:.1f} dB); shift or remove the pair"
        return PairVerdict(measured, "misaligned", reason, certain=gain >= CLEARLY)
    if found := scenes.doubt_scene(rainy, clean) or scenes.doubt_grey(rainy, clean) or scenes.doubt_colours(rainy, clean):
        return PairVerdict(measured, found.kind, found.reason, found.certain)
    lean = leaning(*planes)
    if lean[0] < SUSPECT[0] and lean[1] < SUSPECT[1]:
        reason = (
            f"the clean one has the streaks (skewness {lean[0]:.2f}, detail {lean[1]:.2f}); exchange them or remove the pair"
        )
        return PairVerdict(measured, "swapped", reason, certain=lean[0] < CERTAIN[0] and lean[1] < CERTAIN[1])
    if found := scenes.doubt_detail(*planes):
        return PairVerdict(measured, found.kind, found.reason, found.certain)
    return PairVerdict(measured)


def shift(rainy: Plane, clean: Plane) -> tuple[tuple[int, int], float]:
    """Return the shift (down, right; whole pixels) of ``clean`` against ``rainy``, and the gain in dB of moving it back.

    Both lumas are (H, W). The result is (0, 0) and 0.0 if they are aligned.
    """
    window = cv2.createHanningWindow(rainy.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(rainy, clean, window)
    near = round(y), round(x)
    if near == (0, 0) or abs(near[0]) > FARTHEST * rainy.shape[0] or abs(near[1]) > FARTHEST * rainy.shape[1]:
        return (0, 0), 0.0
    edge = abs(near[0]) + 1, abs(near[1]) + 1
    around = [(near[0] + down, near[1] + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]  # rain displaces the peak
    errors = {place: _mse(*_overlap(rainy, clean, place, edge)) for place in around}
    best = min(around, key=lambda place: errors[place])
    return best, float(10 * np.log10(_mse(*_overlap(rainy, clean, (0, 0), edge)) / errors[best]))


def leaning(rainy: Plane, clean: Plane) -> tuple[float, float]:
    """Return how much more bright detail ``rainy`` has, and the log ratio of both energies of detail (rainy to clean).

    Both are above zero for most rain. The first is half the difference of two skewnesses: that of the rainy detail without
    its projection on the clean detail, and the same with the roles exchanged. So a veil that lowers the contrast has no
    effect. Both lumas are (H, W); exchanging them changes both signs.
    """
    a, b = (plane - np.asarray(cv2.GaussianBlur(plane, (0, 0), FINE), dtype=np.float32) for plane in (rainy, clean))
    energy_a, energy_b, both = (float(np.mean(x * y)) for x, y in ((a, a), (b, b), (a, b)))
    energy_a, energy_b = energy_a + LITTLE, energy_b + LITTLE
    more = (_skewness(a - both / energy_b * b) - _skewness(b - both / energy_a * a)) / 2
    return more, float(np.log(energy_a / energy_b))


def pixel_digest(image: Image) -> str:
    """Return the SHA-256 (hex) of pixels and shape. It is equal for files with equal pixels, whatever their encoding."""
    return sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())


def _luma(image: Image) -> Plane:
    """Return the luma of the central square of (H, W, 3), as (h, w), 0 to 255."""
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
    """Return both planes without a border of ``edge`` (tall, wide); ``clean`` is read ``place`` (down, right) away from it."""
    (height, width), (down, right), (tall, wide) = rainy.shape, place, edge
    moved = clean[tall + down : height - tall + down, wide + right : width - wide + right]
    return rainy[tall : height - tall, wide : width - wide], moved
