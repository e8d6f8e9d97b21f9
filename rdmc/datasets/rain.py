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

The third kind, ``wild``, varies over everything that rain looks like in those datasets and in photographs: see ``wild``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rdmc.datasets.streaks import Rain, streak_layer
from rdmc.datasets.wild import Wild, render_wild
from rdmc.errors import ConfigError

Image = npt.NDArray[np.uint8]


LIGHT = Rain(rate=(2.0, 8.0), density=(2.0, 4.0), opacity=(0.45, 0.9), angle=(-25.0, 25.0), spread=1.5, veil=(0.0, 0.0))
HEAVY = Rain(rate=(25.0, 80.0), density=(8.0, 14.0), opacity=(0.5, 0.95), angle=(-40.0, 40.0), spread=2.5, veil=(0.02, 0.08))
KINDS: dict[str, Rain | Wild] = {"light": LIGHT, "heavy": HEAVY, "wild": Wild()}

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
    if isinstance(rain, Wild):
        return render_wild(clean, rain, rng)
    return render_streaks(clean, rain, rng)


def render_streaks(clean: Image, rain: Rain, rng: np.random.Generator) -> Image:
    """Return the photograph ``clean`` (H, W, 3; RGB, 0 to 255) in physically drawn rain: ``light``, ``heavy``, or another."""
    height, width = clean.shape[:2]
    alpha = streak_layer(height, width, rain, rng)[..., None]
    veil = np.float32(rng.uniform(*rain.veil))
    scene = clean.astype(np.float32) / 255
    airlight = np.float32(0.5) * (scene.mean(dtype=np.float64).astype(np.float32) + np.float32(DROP_LIGHT))
    scene = scene + veil * (airlight - scene)
    rainy = scene + alpha * np.maximum(np.float32(DROP_LIGHT) - scene, 0)
    levels: Image = np.clip(np.rint(rainy * 255), 0, 255).astype(np.uint8)
    return levels
