"""The kind of rain ``wild``: what rain looks like in all of the field's datasets and in real photographs, drawn per image.

A network that learns one rendering removes that rendering only. ``wild`` therefore draws every property of the rain anew for
each image, from ranges that enclose what was seen in published pairs (rainy minus clean) and in real photographs:

* Rain100L: soft bright streaks of a few tens of pixels in one direction, added equally to the three channels; 27 dB.
* Rain200H: flat bars with hard edges, up to a dense curtain, in up to three directions; added, so bright skies saturate; 14 dB.
* Rain800: blurred grain over the whole image, from short flecks to long lines, which leaves bright places unchanged or darkens
  between the streaks; JPEG; 22.6 dB. Rain1400: the same with finer and longer lines; JPEG; 25 dB.
* Real photographs: faint, see-through streaks of the colour of the sky (Garg & Nayar's equation, see ``rain``), dense far rain,
  haze, sensor noise, and compression.

The clean photograph stays the target. A network cannot infer a change of exposure from a crop, so haze and exposure change
rarely and little. A few images have almost no rain: a network must also learn to leave a clean image as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from rdmc.datasets.streaks import Bars, Grain, Layer, Rain, blurred_grain, flat_streaks, gusts, streak_layer

Image = npt.NDArray[np.uint8]
Scene = npt.NDArray[np.float32]
Range = tuple[float, float]


@dataclass(frozen=True)
class Wild:
    """Ranges (low, high) are drawn per image; a share is a probability, 0 to 1, per image. Amplitudes: 1 is white."""

    manners: tuple[float, float, float] = (0.25, 0.35, 0.4)
    """Shares of physically drawn streaks, bars, and grain."""
    layers: tuple[float, float, float] = (0.55, 0.3, 0.15)
    """Shares of images with one, two and three layers, each with its own direction and size."""
    another: float = 0.3
    """Share of further layers that are drawn in another manner than the first."""
    steep: float = 16.0
    """Standard deviation, in degrees, of most directions. Rain falls more or less straight down."""
    slanted: float = 0.25
    """Share of directions that are drawn uniformly from ``angle``."""
    angle: Range = (-60.0, 60.0)
    """Degrees from the vertical."""
    cross: float = 0.4
    """Share of further layers with a direction of their own. The others differ from the first by a few degrees."""
    amplitude: Range = (0.12, 0.95)
    """Brightness of the brightest streaks of a layer, log-uniform for grain and uniform otherwise. Rain200H's
    bars are bright, while in half the images of Rain800 and Rain1400 99 % of the pixels gain less than a sixth of white."""
    length: Range = (6.0, 160.0)
    """Pixels along a streak, log-uniform."""
    thickness: Range = (0.5, 6.0)
    """Pixels across a streak, log-uniform."""
    density: Range = (1.0, 8.0)
    """Physical streaks per 1,000 pixels, log-uniform."""
    cover: Range = (0.03, 0.8)
    """Sum of the bars' areas over that of the image, log-uniform."""
    curtain: float = 0.45
    """Share of layers of bars that are a dense curtain instead: streaks cover most of the image, as in Rain200H."""
    dense: Range = (0.8, 2.4)
    """Sum of the bars' areas over that of the image in a curtain."""
    soft: float = 0.5
    """Share of layers of bars with soft edges, as in Rain100L. Rain200H's are hard."""
    beaded: float = 0.4
    """Share of layers of bars whose brightness varies along the streaks: a drop oscillates (Garg & Nayar, see ``rain``)."""
    share: Range = (0.03, 0.5)
    """Share of the noise that becomes grain, log-uniform."""
    modes: tuple[float, float, float] = (0.45, 0.25, 0.3)
    """Shares of images whose streaks are added, screened (towards white), and blended (towards the colour of the sky)."""
    sky: Range = (0.55, 1.0)
    """Brightness that blended streaks tend to. Brighter places become darker."""
    tint: float = 0.03
    """Standard deviation of the colour channels of that brightness."""
    signed: float = 0.4
    """Share of layers of grain with dark lines between the bright ones, as in Rain800."""
    pedestal: Range = (0.0, 1.3)
    """How dark those lines are: 1 keeps the mean brightness, more makes the image darker."""
    uneven: float = 0.3
    """Share of layers that are dense in one place and thin in another."""
    faint: float = 0.05
    """Share of images with almost no rain."""
    hazy: float = 0.2
    """Share of images with a veil and a change of exposure."""
    veil: Range = (0.01, 0.1)
    """Share of airlight over the whole image."""
    exposure: Range = (0.94, 1.04)
    """Factor on the image's brightness."""
    blurred: float = 0.1
    """Share of images whose background is out of focus."""
    blur: Range = (0.3, 0.7)
    """Standard deviation of that blur, in pixels."""
    noisy: float = 0.15
    """Share of images with sensor noise."""
    noise: Range = (0.003, 0.015)
    """Standard deviation of that noise."""
    compressed: float = 0.35
    """Share of images that are compressed as JPEG."""
    quality: tuple[int, int] = (60, 95)
    """JPEG quality."""


PHYSICAL, BARS, GRAIN = range(3)
"""Manners of drawing, in the order of ``Wild.manners``."""
ADDED, SCREENED, BLENDED = range(3)
"""Ways to lay streaks over the scene, in the order of ``Wild.modes``."""
FURTHER = 0.75
"""Brightness of each further layer relative to the one before it, because its drops are farther away."""


def render_wild(clean: Image, wild: Wild, rng: np.random.Generator) -> Image:
    """Return the photograph ``clean`` (H, W, 3; RGB, 0 to 255) in rain whose look ``rng`` determines."""
    height, width = clean.shape[:2]
    scene = _photograph(clean, wild, rng)
    weakness = rng.uniform(0.03, 0.2) if rng.random() < wild.faint else 1.0
    mode = int(rng.choice(3, p=wild.modes))
    sky = (rng.uniform(*wild.sky) + wild.tint * rng.standard_normal(3)).clip(0, 1).astype(np.float32)
    manner, angle = int(rng.choice(3, p=wild.manners)), _direction(wild, rng)
    for index in range(1 + int(rng.choice(3, p=wild.layers))):
        if index:
            manner = int(rng.choice(3, p=wild.manners)) if rng.random() < wild.another else manner
            angle = _direction(wild, rng) if rng.random() < wild.cross else angle + 6 * rng.standard_normal()
        layer = _draw(height, width, manner, angle, wild, rng)
        amplitude = _log_uniform(rng, wild.amplitude) if manner == GRAIN else rng.uniform(*wild.amplitude)
        if manner == GRAIN and rng.random() < wild.signed:
            layer = layer - np.float32(rng.uniform(*wild.pedestal)) * layer.mean(dtype=np.float64).astype(np.float32)
        if rng.random() < wild.uneven:
            layer = layer * gusts(height, width, rng)
        layer = layer * np.float32(weakness * amplitude * FURTHER**index)
        scene = _compose(scene, layer[..., None], mode, sky)
    if rng.random() < wild.noisy:
        scene = scene + np.float32(rng.uniform(*wild.noise)) * rng.standard_normal(scene.shape, np.float32)
    levels: Image = np.clip(np.rint(scene * 255), 0, 255).astype(np.uint8)
    return _compress(levels, int(rng.integers(*wild.quality, endpoint=True))) if rng.random() < wild.compressed else levels


def _photograph(clean: Image, wild: Wild, rng: np.random.Generator) -> Scene:
    """Return the photograph, 0 to 1; on those images that have it, through haze and out of focus."""
    if rng.random() < wild.blurred:
        clean = np.asarray(cv2.GaussianBlur(clean, (0, 0), rng.uniform(*wild.blur)), np.uint8)
    scene = clean.astype(np.float32) / np.float32(255)
    if rng.random() < wild.hazy:
        veil, exposure = (np.float32(rng.uniform(*span)) for span in (wild.veil, wild.exposure))
        airlight = np.float32(0.5) * (scene.mean(dtype=np.float64).astype(np.float32) + np.float32(1))
        scene = exposure * (scene + veil * (airlight - scene))
    return scene


def _direction(wild: Wild, rng: np.random.Generator) -> float:
    """Return degrees from the vertical."""
    if rng.random() < wild.slanted:
        return float(rng.uniform(*wild.angle))
    return min(max(wild.steep * rng.standard_normal(), wild.angle[0]), wild.angle[1])


def _draw(height: int, width: int, manner: int, angle: float, wild: Wild, rng: np.random.Generator) -> Layer:
    """Return one layer of rain, (H, W), 0 to 1."""
    if manner == PHYSICAL:
        density, rate = _log_uniform(rng, wild.density), _log_uniform(rng, (2, 80))  # mm/h: from drizzle to a downpour
        look = Rain((rate,) * 2, (density,) * 2, (0.3, 1.0), (angle,) * 2, float(rng.uniform(0, 3)), (0, 0))
        return streak_layer(height, width, look, rng)
    length, thickness = _log_uniform(rng, wild.length), _log_uniform(rng, wild.thickness)
    length = max(length, 2 * thickness)  # a streak is longer than wide
    if manner == GRAIN:
        # the grain's width at half its height is about 2.4 standard deviations, and the threshold narrows it
        grain = Grain(length, size=thickness / 3, share=_log_uniform(rng, wild.share), angle=angle)
        return blurred_grain(height, width, grain, rng)
    layer = flat_streaks(height, width, _bars(length, thickness, angle, wild, rng), rng)
    if rng.random() < wild.beaded:
        beads = blurred_grain(height, width, Grain(0.5 * length, size=1.5, share=0.5, angle=angle), rng)
        layer = layer * (np.float32(0.3) + np.float32(0.7) * beads)
    return layer


def _bars(length: float, thickness: float, angle: float, wild: Wild, rng: np.random.Generator) -> Bars:
    """Return the look of one layer of bars, for a mean length and thickness in pixels and a direction in degrees."""
    low, high = (0.6, 1.4) if rng.random() < 0.7 else (0.2, 2.0)  # alike, or near and far mixed
    return Bars(
        cover=rng.uniform(*wild.dense) if rng.random() < wild.curtain else _log_uniform(rng, wild.cover),
        length=(0.5 * length, 1.5 * length),
        thickness=(max(low * thickness, wild.thickness[0]), min(max(high * thickness, 1.0), wild.thickness[1])),
        angle=angle,
        spread=rng.uniform(0, 3) if rng.random() < 0.7 else rng.uniform(3, 12),
        floor=rng.uniform(0.1, 0.9),
        smooth=bool(rng.random() < 0.6),
        blur=rng.uniform(0.4, 0.4 + 0.3 * thickness) if rng.random() < wild.soft else 0.0,
    )


def _log_uniform(rng: np.random.Generator, span: Range) -> float:
    """Return a number whose logarithm is uniform over that of ``span``."""
    return math.exp(rng.uniform(math.log(span[0]), math.log(span[1])))


def _compose(scene: Scene, layer: Scene, mode: int, sky: Scene) -> Scene:
    """Return the scene with one layer (H, W, 1) added, screened or blended towards ``sky``, by ``mode``; 0 to 1."""
    if mode == ADDED:
        return (scene + layer).clip(0, 1)
    if mode == SCREENED:
        return (scene + layer * (1 - scene)).clip(0, 1)
    return (scene + layer * (sky - scene)).clip(0, 1)


def _compress(levels: Image, quality: int) -> Image:
    """Return the image after JPEG compression."""
    data = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
