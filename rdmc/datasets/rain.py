"""Render rain over a clean photograph: seeded, byte-reproducible, physically motivated.

A falling drop is a small, fast lens. Four facts from the literature determine its appearance in a photograph:

* **Size.** Drop diameters D (mm) of a rain of rate R (mm/h) are distributed as exp(-4.1 R^-0.21 D)
  (Marshall & Palmer, "The distribution of raindrops with size", J. Meteorology 5, 1948).
* **Speed.** A drop falls at its terminal velocity 9.65 - 10.3 exp(-0.6 D) m/s
  (Atlas, Srivastava & Sekhon, "Doppler radar characteristics of precipitation", Rev. Geophys. 11, 1973).
* **Blur.** During the exposure it draws a streak: length = speed * exposure * focal / depth, width = D * focal / depth
  (Garg & Nayar, "Vision and rain", IJCV 75, 2007).
* **Light.** A drop gathers light from a wide field of view, so it is brighter than most backgrounds; the moving drop covers
  a pixel only during a part of the exposure, so a streak *adds* a share of that light: I = (1 - a) * clean + a * drop light
  (same paper, eq. 7). Rain that is too far away to be resolved adds up to a veil like fog (same paper, section 6).

Drops are spread over depth layers: a near layer has few, long, wide, soft streaks, a far one many short and thin ones.
Real cameras show fainter streaks than the field's synthetic benchmarks; ``opacity`` is chosen so that the mean PSNR of the
rainy image is near theirs (light: that of Rain100L, about 27 dB on luma; heavy: between Rain800 and Rain200H).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdmc.errors import ConfigError

Image = npt.NDArray[np.uint8]
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


LIGHT = Rain(rate=(2.0, 8.0), density=(2.0, 4.0), opacity=(0.45, 0.9), angle=(-25.0, 25.0), spread=1.5, veil=(0.0, 0.0))
HEAVY = Rain(rate=(25.0, 80.0), density=(8.0, 14.0), opacity=(0.5, 0.95), angle=(-40.0, 40.0), spread=2.5, veil=(0.02, 0.08))
KINDS = {"light": LIGHT, "heavy": HEAVY}

EXPOSURE = 1 / 100
"""Exposure time in seconds: long enough for streaks, as in daylight video."""
FOCAL = 700.0
"""Focal length in pixels of the image (a 50 degree field of view over 640 pixels)."""
DEPTHS = (0.6, 1.5, 4.0)
"""Metres from the camera to the near, middle and far layer of drops."""
SHARES = (0.12, 0.33, 0.55)
"""Share of the streaks in each layer. A far layer covers a larger volume of air."""
DROP_LIGHT = 0.92
"""Radiance of a drop, where 1 is white: nearly that of the sky that it mirrors."""


def render(clean: Image, kind: str, seed: tuple[int, ...]) -> Image:
    """Return the photograph ``clean`` (H, W, 3; RGB, 0 to 255) as it would look in rain.

    ``kind`` is a key of ``KINDS``; ``seed`` determines every drop: the same arguments give the same bytes.
    Raises ConfigError for an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"rain: {kind!r} is not one of {', '.join(sorted(KINDS))}; name one of these in params.yaml")
    rain, rng = KINDS[kind], np.random.default_rng(seed)
    height, width = clean.shape[:2]
    alpha = streak_layer(height, width, rain, rng)[..., None]
    veil = np.float32(rng.uniform(*rain.veil))
    scene = clean.astype(np.float32) / 255
    airlight = np.float32(0.5) * (scene.mean(dtype=np.float64).astype(np.float32) + np.float32(DROP_LIGHT))
    scene = scene + veil * (airlight - scene)
    rainy = scene + alpha * np.maximum(np.float32(DROP_LIGHT) - scene, 0)
    levels: Image = np.clip(np.rint(rainy * 255), 0, 255).astype(np.uint8)
    return levels


def streak_layer(height: int, width: int, rain: Rain, rng: np.random.Generator) -> Layer:
    """Return the opacity of all streaks, (H, W), 0 to 1. Transmittances multiply, as light passes each."""
    rate, density, wind = rng.uniform(*rain.rate), rng.uniform(*rain.density), rng.uniform(*rain.angle)
    clear = np.ones((height, width), np.float32)
    for depth, share in zip(DEPTHS, SHARES, strict=True):
        drops = _draw_drops(height, width, depth, round(share * density * height * width / 1000), rate, rng)
        for x, y, length, thickness, turn, light in drops.tolist():
            angle = math.radians(wind + rain.spread * turn)
            low, high = rain.opacity
            _stamp(clear, x, y, length, thickness, angle, low + (high - low) * light)
    return 1 - clear


def _draw_drops(
    height: int, width: int, depth: float, count: int, rate: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw (count, 6): centre x and y, length and thickness in pixels, deviation of the angle in sigmas, brightness 0 to 1."""
    diameter = 0.5 + rng.exponential(1 / (4.1 * rate**-0.21), count).clip(0, 5)  # smaller drops are invisible
    speed = 9.65 - 10.3 * np.exp(-0.6 * diameter)
    jitter = rng.uniform(0.7, 1.4, count)  # drops of one layer are not all at one depth
    distance = depth * jitter
    length = (speed * EXPOSURE * FOCAL / distance).clip(3, 0.5 * height)
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
