"""Check whether both pictures of a pair show one scene, upright, in the same colours, and at their full resolution.

Two measures of small grey copies decide about the scene. The first is the correlation of copies of 32 x 32. The second is that
of the band between two scales in copies of 64 x 64, which ignores that most photographs are bright above and dark below. Of
437 pairs of Rain100L, Rain200H, Rain800 and Rain1400 the first was 0.75 and more, and the second 0.65 and more. Of pictures of
different scenes 1.3 % reached 0.7 in the first, and none more than 0.43 in the second. docs/data.md has the other measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import cv2
import numpy as np
from numpy.typing import NDArray

from rdmc.data.images import Image
from rdmc.datasets.likeness import BAND, NAMES, VIEWS, View

Plane = NDArray[np.float32]

COARSE, SIDE = 32, 64
"""Pixels a side of the small copies."""
SAME = 0.7
"""Correlation of the coarse copies below which two pictures show different scenes."""
ALIKE = 0.45
"""Correlation of the bands below which they do; above ``SURE`` they do not."""
SURE = 0.6
LOOK = 0.9
"""Coarse correlation above which a low one of the bands is only shown: there may be too little structure."""
HIDDEN, SLOPE = 0.5, 0.3
"""Strength of the clean detail, as a share of the rainy one, below which rain may hide it; and the least slope between them."""
STRUCTURE = 10.0
"""Standard deviation, in levels of 255, of a coarse copy with less of which nothing is certain."""
FLAT, SEEN = 1.0, 5.0
"""Standard deviations of a picture that shows nothing, and of one that shows something."""
TURNED = (0.05, 0.15)
"""By how much the band of a turned copy must correlate better: to be shown, and to be set aside. True pairs: 0.07 worse."""
CHANNELS = (0.05, 0.15)
"""The same for the cosine of the colours with channels exchanged. In true pairs it is at least 0.016 lower."""
COLOUR = 4.0
"""Root mean square of the colour, in levels of 255, of a picture whose channels can be judged."""
ENLARGED = ((0.48, 0.62), (0.38, 0.55))
"""Ratio of the finest to the next detail, and that ratio divided by the one of the rainy picture, below both of which the clean
picture looks enlarged: to be shown, and to be set aside. True pairs: 0.48 and 0.60 at least; enlarged twofold: half have 0.27
and 0.40 or less."""


@dataclass(frozen=True)
class Doubt:
    """What is wrong with a pair, in words, and whether that is certain."""

    kind: str
    """blank, turned, scene, channels or enlarged."""
    reason: str
    certain: bool


def doubt_view(rainy: Image, clean: Image) -> Doubt | None:
    """Return a doubt if one picture shows nothing, or if the clean one is mirrored or turned; both (H, W, 3), RGB."""
    small = [_small(image, SIDE) for image in (rainy, clean)]
    spread = [float(copy.std()) for copy in small]
    for name, one, other in (("rainy", spread[0], spread[1]), ("clean", spread[1], spread[0])):
        if one < FLAT and other > SEEN:
            return Doubt(
                "blank", f"the {name} picture shows nothing, all of it has one level; replace or remove the pair", True
            )
    if min(spread) < SEEN:
        return None
    bands = [_band(copy) for copy in small]
    found = {view: correlation(bands[0], view_of(view, bands[1])) for view in VIEWS}
    best = max(VIEWS, key=lambda view: found[view])
    margin = found[best] - found[VIEWS[0]]
    if margin < TURNED[0] or found[best] < SURE:
        return None
    reason = (
        f"clean fits better {NAMES[best]} ({found[best]:.2f}, as it is {found[VIEWS[0]]:.2f}); turn it back or remove the pair"
    )
    return Doubt("turned", reason, margin >= TURNED[1])


def doubt_scene(rainy: Image, clean: Image) -> Doubt | None:
    """Return a doubt if the pictures (H, W, 3) show different scenes."""
    coarse = [_small(image, COARSE) for image in (rainy, clean)]
    bands = [_band(_small(image, SIDE)) for image in (rainy, clean)]
    whole, band = correlation(*coarse), correlation(*bands)
    structure = min(float(copy.std()) for copy in coarse)
    if structure < SEEN or (band < ALIKE and _hidden(*bands)):  # grey decides nothing, the colours may
        colours = doubt_colours(rainy, clean)
        certain = colours is not None and colours.certain
        if colours is None and (structure < SEEN or whole >= SAME):
            return None
    elif (whole >= SAME and band >= ALIKE) or band >= SURE:
        return None
    else:
        certain = whole < LOOK and structure >= STRUCTURE
    reason = f"shows another scene than {{clean}} (correlation {whole:.2f}, detail {band:.2f}); give it its own clean image"
    return Doubt("scene", reason, certain)


def _hidden(rainy: Plane, clean: Plane) -> bool:
    """Return whether the rain may hide the clean detail: it is much weaker, but as far as it is there, it has its strength.

    Rain over a clear sky is such a case. The strength is the slope of the rainy on the clean detail, about 1 in a pair.
    """
    power = float(np.sum(clean * clean)), float(np.sum(rainy * rainy))
    slope = float(np.sum(rainy * clean)) / max(power[0], 1e-3)
    return power[0] < HIDDEN**2 * power[1] and slope > SLOPE


def doubt_colours(rainy: Image, clean: Image) -> Doubt | None:
    """Return a doubt if the colours agree better with the channels of the clean picture in another order."""
    small = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) for image in (rainy, clean)]
    one, other = (copy - copy.mean(axis=2, keepdims=True) for copy in small)
    if min(float(np.sqrt(np.mean(plane**2))) for plane in (one, other)) < COLOUR:
        return None
    found = {order: _cosine(one, other[..., list(order)]) for order in permutations(range(3))}
    best = max(found, key=lambda order: found[order])
    margin = found[best] - found[0, 1, 2]
    if margin < CHANNELS[0]:
        return None
    names = "".join("RGB"[channel] for channel in best)
    return Doubt(
        "channels", f"the channels of clean look exchanged (RGB is {names}); save one of them again", margin >= CHANNELS[1]
    )


def doubt_grey(rainy: Image, clean: Image) -> Doubt | None:
    """Return a doubt if one picture (H, W, 3) is grey and the other has colours, which a network would learn to invent."""
    for name, one, other in (("rainy", rainy, clean), ("clean", clean, rainy)):
        if np.array_equal(one[..., 0], one[..., 1]) and np.array_equal(one[..., 1], one[..., 2]):
            small = cv2.resize(other, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
            if float(np.sqrt(np.mean((small - small.mean(axis=2, keepdims=True)) ** 2))) >= COLOUR:
                reason = f"the {name} picture is grey and the other has colours; find the original, or make both grey"
                return Doubt("channels", reason, certain=True)
            return None
    return None


def doubt_detail(rainy: Plane, clean: Plane) -> Doubt | None:
    """Return a doubt if the clean luma (H, W) lacks the finest detail, as after it was made smaller and enlarged again."""
    found = None
    for factor in (2, 4):
        if min(rainy.shape) < SIDE:
            break
        ratios = [_fineness(plane) for plane in (rainy, clean)]
        relative = ratios[1] / max(ratios[0], 1e-3)
        if ratios[1] < ENLARGED[0][0] and relative < ENLARGED[0][1]:
            certain = ratios[1] < ENLARGED[1][0] and relative < ENLARGED[1][1]
            reason = (
                f"clean looks enlarged by {factor} or more (detail {ratios[1]:.2f}, rainy {ratios[0]:.2f}); find the original"
            )
            found = Doubt("enlarged", reason, certain)
        rainy, clean = (_halved(plane) for plane in (rainy, clean))
    return found


def same_scene(one: Plane, other: Plane) -> bool:
    """Return whether two lumas of one size show the same scene in the same place."""
    small = [cv2.resize(np.ascontiguousarray(plane), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for plane in (one, other)]
    return correlation(*(_band(np.asarray(plane, np.float32)) for plane in small)) >= ALIKE


def view_of(view: View, plane: Plane) -> Plane:
    """Return a square plane in a view."""
    turned = plane.T if view.transposed else plane
    return turned[:: -1 if view.rows else 1, :: -1 if view.columns else 1]


def correlation(one: Plane, other: Plane) -> float:
    """Return the correlation of two planes, -1 to 1; 0 if one has no structure."""
    return _cosine(one - one.mean(), other - other.mean())


def _cosine(one: Plane, other: Plane) -> float:
    norm = float(np.sqrt(np.sum(one * one) * np.sum(other * other)))
    return float(np.sum(one * other)) / norm if norm > 1e-3 else 0.0


def _small(image: Image, side: int) -> Plane:
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)


def _band(plane: Plane) -> Plane:
    fine, coarse = (np.asarray(cv2.GaussianBlur(plane, (0, 0), deviation), np.float32) for deviation in BAND)
    return fine - coarse


def _halved(plane: Plane) -> Plane:
    height, width = (side // 2 for side in plane.shape)
    even = np.ascontiguousarray(plane[: 2 * height, : 2 * width])
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _fineness(plane: Plane) -> float:
    """Return the mean detail that halving loses, divided by what halving again loses."""
    lost = []
    for _ in range(2):
        half = _halved(plane)
        height, width = (2 * side for side in half.shape)
        back = np.asarray(cv2.resize(half, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        lost.append(float(np.mean(np.abs(plane[:height, :width] - back))))
        plane = half
    return lost[0] / max(lost[1], 1e-3)
