"""Draw streaks of rain: the opacity or brightness of rain in each pixel, (H, W) float32, 0 to 1.

Three ways to draw, because published pairs were made in three ways:

* ``streak_layer``: physically motivated drops on depth layers, soft across and along (see ``rain`` for the literature).
* ``flat_streaks``: flat bars with sharp edges and ends cut parallel to the horizon, as in Rain200H.
* ``blurred_grain``: noise, threshold, motion blur, as an image editor's filters make rain; Rain800 and Rain1400 look like this.

OpenCV draws, blurs and turns whole numbers here, not floats: its float filters round differently from processor to processor,
and a seed must fix every byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Layer = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rain:
    """A kind of rain. Ranges are (low, high) and drawn per image unless stated otherwise."""

    rate: tuple[float, float]
    """Rain rate in mm/h. It sets the share of large drops."""
    density: tuple[float, float]
    """Streaks per 1,000 pixels of the image, all depth layers together."""
    opacity: tuple[float, float]
    """Peak share of a streak's light in a pixel, 0 to 1, drawn per streak and weakened by depth."""
    angle: tuple[float, float]
    """Direction of the fall in degrees from the vertical (wind), positive towards the right."""
    spread: float
    """Standard deviation, in degrees, of single streaks around that direction (turbulence)."""
    veil: tuple[float, float]
    """Share of airlight over the whole image, 0 for none."""
    exposure: float = 1 / 100
    """Exposure time in seconds; streaks are as long as it is. The default is long enough for streaks, as in daylight video."""


FOCAL = 700.0
"""Focal length in pixels of the image (a 50 degree field of view over 640 pixels)."""
DEPTHS = (0.6, 1.5, 4.0)
"""Metres from the camera to the near, middle and far layer of drops."""
SHARES = (0.12, 0.33, 0.55)
"""Share of the streaks in each layer. A far layer covers a larger volume of air."""


def streak_layer(height: int, width: int, rain: Rain, rng: np.random.Generator) -> Layer:
    """Return the opacity of all streaks, (H, W), 0 to 1. Transmittances multiply along the light."""
    rate, density, wind = rng.uniform(*rain.rate), rng.uniform(*rain.density), rng.uniform(*rain.angle)
    clear = np.ones((height, width), np.float32)
    for depth, share in zip(DEPTHS, SHARES, strict=True):
        drops = _draw_drops(height, width, depth, round(share * density * height * width / 1000), rate, rain.exposure, rng)
        for x, y, length, thickness, turn, light in drops.tolist():
            angle = math.radians(wind + rain.spread * turn)
            low, high = rain.opacity
            _stamp(clear, x, y, length, thickness, angle, low + (high - low) * light)
    return 1 - clear


def _draw_drops(
    height: int, width: int, depth: float, count: int, rate: float, exposure: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return (count, 6): centre x and y, length and thickness in pixels, angle's deviation in sigmas, brightness 0 to 1."""
    diameter = 0.5 + rng.exponential(1 / (4.1 * rate**-0.21), count).clip(0, 5)  # smaller drops are invisible
    speed = 9.65 - 10.3 * np.exp(-0.6 * diameter)
    jitter = rng.uniform(0.7, 1.4, count)  # drops of one layer are not all at one depth
    distance = depth * jitter
    length = (speed * exposure * FOCAL / distance).clip(3, 0.5 * height)
    thickness = (diameter * 1e-3 * FOCAL / distance).clip(0.55, 4.0)
    x = rng.uniform(-0.05 * width, 1.05 * width, count)
    y = rng.uniform(-0.1 * height, 1.1 * height, count)
    return np.stack([x, y, length, thickness, rng.standard_normal(count), rng.uniform(0, 1, count)], axis=1)


def _stamp(clear: Layer, x: float, y: float, length: float, thickness: float, angle: float, peak: float) -> None:
    """Multiply ``clear`` by the transmittance of a streak, within its bounding box only.

    Across, the streak falls off as (1 - d^2)^2, because a drop is thickest in its middle. Along, it fades at both ends, where
    the drop was only in the first and last moments of the exposure.
    """
    height, width = clear.shape
    half, radius = length / 2, thickness + 0.6
    dx, dy = math.sin(angle), math.cos(angle)
    reach_x, reach_y = abs(dx) * half + radius, abs(dy) * half + radius
    left, right = max(int(x - reach_x), 0), min(int(x + reach_x) + 2, width)
    top, bottom = max(int(y - reach_y), 0), min(int(y + reach_y) + 2, height)
    if left >= right or top >= bottom:
        return
    u = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
    v = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
    across = u * np.float32(dy / radius) - v * np.float32(dx / radius)  # -1 and 1 at the streak's sides
    profile = np.maximum(1 - across * across, 0)
    profile *= profile
    ends = np.abs(u * np.float32(3 * dx / half) + v * np.float32(3 * dy / half))  # 3 at both ends
    profile *= np.minimum(np.maximum(3 - ends, 0), 1)
    # A drop thinner than a pixel covers only a part of it.
    clear[top:bottom, left:right] *= 1 - np.float32(peak * min(thickness, 1.0)) * profile


@dataclass(frozen=True)
class Bars:
    """Flat streaks of one direction. Ranges are (low, high) and drawn per streak."""

    cover: float
    """Sum of the streaks' areas divided by the image's area; overlaps make the covered share smaller."""
    length: tuple[float, float]
    """Pixels along the streak."""
    thickness: tuple[float, float]
    """Pixels across the streak."""
    angle: float
    """Degrees from the vertical, positive towards the right."""
    spread: float
    """Standard deviation, in degrees, of single streaks around that direction."""
    floor: float
    """Brightness of the faintest streak, where the brightest has 1."""
    smooth: bool = True
    """Antialiased edges."""
    blur: float = 0.0
    """Standard deviation, in pixels, of a blur after drawing; 0 for none."""


MOST_BARS = 25
"""Bars per 1,000 pixels at most. It bounds the time for images with a dense curtain of thin, short streaks."""


def flat_streaks(height: int, width: int, bars: Bars, rng: np.random.Generator) -> Layer:
    """Return flat bars, (H, W), 0 to 1. Bars thinner than a pixel are drawn one pixel wide and fainter.

    Bars are drawn on two sheets, the brightest last, and the sheets are added: two bars that overlap add up in half of the
    cases, as in Rain200H, and a dense curtain does not become one white area.
    """
    area = 0.25 * sum(bars.length) * sum(bars.thickness)
    count = max(1, round(height * width * min(bars.cover / area, MOST_BARS / 1000)))
    length, thickness = rng.uniform(*bars.length, count), rng.uniform(*bars.thickness, count)
    slant = np.tan(np.radians((bars.angle + bars.spread * rng.standard_normal(count)).clip(-75, 75)))
    level = np.sort(rng.uniform(bars.floor, 1, count)) * thickness.clip(0, 1)
    drop = 0.5 * length / np.hypot(1, slant)  # half the bar's height
    side = 0.5 * thickness.clip(1) * np.hypot(1, slant) - 0.5  # OpenCV's polygons include their edge: half a pixel a side
    x = rng.uniform(-0.1 * width, 1.1 * width, count)
    y = rng.uniform(-0.1 * height, 1.1 * height, count)
    corners = [(x + v * drop * slant + u * side, y + v * drop) for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    points = np.rint(16 * np.array(corners)).astype(np.int32).transpose(2, 0, 1)  # (count, 4 corners, x and y) in 1/16 pixel
    sheets = np.zeros((2, height, width), np.uint8)
    kind = cv2.LINE_AA if bars.smooth else cv2.LINE_8
    for index, (corner, value) in enumerate(zip(points, (255 * level).round().tolist(), strict=True)):
        cv2.fillConvexPoly(sheets[index % 2], corner, value, kind, 4)
    drawn = np.asarray(cv2.add(sheets[0], sheets[1]), np.uint8)
    return _as_layer(cv2.GaussianBlur(drawn, (0, 0), bars.blur) if bars.blur else drawn)


@dataclass(frozen=True)
class Grain:
    """Noise that is thresholded and blurred along one direction."""

    length: float
    """Length of the motion blur in pixels."""
    size: float
    """Standard deviation, in pixels, of a blur before the threshold. It sets the width of the streaks."""
    share: float
    """Share of the noise that passes the threshold, 0 to 1."""
    angle: float
    """Degrees from the vertical, positive towards the right."""


def blurred_grain(height: int, width: int, look: Grain, rng: np.random.Generator) -> Layer:
    """Return motion-blurred noise, (H, W), 0 to 1.

    The noise is blurred along the columns of a larger canvas, which is then turned, so that a blur of any length takes the
    same time.
    """
    side = math.ceil(math.hypot(height, width)) + 2
    noise = rng.integers(0, 65536, (side, side), np.uint16)
    if look.size > 0.2:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), look.size), np.uint16)
    kept = _stretch(noise, 1 - look.share, 1 - 0.1 * look.share)
    for reach in (look.length, 0.3 * look.length):  # the second makes the ends fade
        kept = np.asarray(cv2.blur(kept, (1, max(1, round(reach)))), np.uint16)
    return _as_layer(_turn((_stretch(kept, 0.1, 0.99) >> 8).astype(np.uint8), height, width, look.angle))


def _turn(square: npt.NDArray[np.uint8], height: int, width: int, angle: float) -> npt.NDArray[np.uint8]:
    """Return the middle (height, width) of ``square`` turned by ``angle``, so that its columns run along that direction.

    The places to read are in whole 32nds of a pixel. OpenCV's own rotation rounds them differently from processor to processor.
    """
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = np.arange(width)[None, :] - (width - 1) / 2, np.arange(height)[:, None] - (height - 1) / 2
    middle = 16 * (len(square) - 1)
    across = np.rint(32 * cos * x).astype(np.int32) - np.rint(32 * sin * y).astype(np.int32) + middle
    along = np.rint(32 * sin * x).astype(np.int32) + np.rint(32 * cos * y).astype(np.int32) + middle
    places = np.stack([across >> 5, along >> 5], axis=2).astype(np.int16)
    between = ((along & 31) << 5 | across & 31).astype(np.uint16)
    return np.asarray(cv2.remap(square, places, between, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def gusts(height: int, width: int, rng: np.random.Generator) -> Layer:
    """Return the density of the rain over the image, (H, W), 0 to 1: smooth, with a few dense and a few thin places."""
    coarse = rng.integers(0, 256, (4, 4), np.uint8)
    return _as_layer(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR_EXACT))


def _as_layer(levels: npt.ArrayLike) -> Layer:
    """Return 8-bit levels (H, W) as a layer, 0 to 1."""
    return np.asarray(levels, np.float32) / np.float32(255)


def _stretch(levels: npt.NDArray[np.uint16], low: float, high: float) -> npt.NDArray[np.uint16]:
    """Return the levels scaled so that the quantile ``low`` of them becomes 0 and the quantile ``high`` 65535."""
    sample = np.sort(levels[::3, ::3], axis=None)
    bottom, top = (int(sample[int((len(sample) - 1) * quantile)]) for quantile in (low, high))
    top = max(top, bottom + 1)
    scaled = (levels.clip(bottom, top) - np.uint16(bottom)).astype(np.float32) * np.float32(65535 / (top - bottom))
    return np.asarray(np.rint(scaled).clip(0, 65535), np.uint16)
