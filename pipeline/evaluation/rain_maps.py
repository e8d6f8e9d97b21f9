"""The gain of a model over rain whose properties are set, two at a time.

The rain is that of ``rdmc.datasets.rain.render_streaks``. ``BASE`` is a rain in the middle of what photographs show. Each map
changes two of its properties and keeps the others. In every cell the same photographs get the same drops, as far as the
properties allow: the seed depends on the photograph alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rdmc.data.images import Image
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render_streaks
from rdmc.datasets.streaks import Rain
from rdmc.errors import ConfigError, DataError
from rdmc.inference import derain_images
from rdmc.metrics import psnr_y

SIDE = 256
"""Side in pixels of the middle of a photograph, which is what is measured."""


@dataclass(frozen=True)
class Shape:
    """The properties of a rain, each with one value."""

    angle: float = 0.0
    """Degrees from the vertical, positive towards the right."""
    density: float = 6.0
    """Streaks per 1,000 pixels."""
    length: float = 1.0
    """Length of the streaks as a multiple of that after an exposure of 1/100 s."""
    opacity: float = 0.7
    """Peak share of a streak's light in a pixel, 0 to 1."""
    veil: float = 0.0
    """Share of airlight over the whole image, 0 to 1."""

    @property
    def words(self) -> str:
        """What differs from ``BASE``, in words."""
        changed = {name: value for name, value in vars(self).items() if value != getattr(BASE, name)}
        return ", ".join(f"{name} {value:g}" for name, value in changed.items()) or "the base rain"

    def rain(self) -> Rain:
        """The rain of this shape."""
        fixed = ((value, value) for value in (self.density, self.opacity, self.angle, self.veil))
        density, opacity, angle, veil = fixed
        return Rain((10, 10), density, opacity, angle, spread=2.0, veil=veil, exposure=self.length / 100)


BASE = Shape()
LEVELS: dict[str, tuple[float, ...]] = {
    "angle": (-60, -30, 0, 30, 60),
    "density": (1, 3, 6, 12, 24),
    "length": (0.25, 0.5, 1, 2, 4),
    "opacity": (0.2, 0.45, 0.7, 0.85, 1),
    "veil": (0, 0.1, 0.2, 0.35, 0.5),
}
"""The values of each property."""
MAPS = (("angle", "density"), ("length", "opacity"), ("veil", "density"))
"""Across and down of each map. Every property is in one."""
UNITS = {
    "angle": "degrees from the vertical",
    "density": "streaks per 1,000 pixels",
    "length": "multiple of the usual streak",
    "opacity": "peak share of a streak's light",
    "veil": "share of airlight",
}


@dataclass(frozen=True)
class RainCell:
    """A rain, and what the model makes of it: means over the photographs, PSNR-Y in dB."""

    shape: Shape
    rainy: float
    gains: tuple[float, ...]
    """PSNR-Y of the derained image over that of the rainy one, dB, of each photograph."""

    @property
    def gain(self) -> float:
        """The mean gain."""
        return sum(self.gains) / len(self.gains)

    @property
    def derained(self) -> float:
        """PSNR-Y of the derained images."""
        return self.rainy + self.gain

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        means = {"rainy_psnr_y": self.rainy, "derained_psnr_y": self.derained, "gain_psnr_y": self.gain}
        return {**asdict(self.shape), **means, "least_gain_psnr_y": min(self.gains)}


@dataclass(frozen=True)
class RainMap:
    """Cells over the values of two properties: ``cells[row][column]``."""

    across: str
    down: str
    cells: Sequence[Sequence[RainCell]]


def shapes(across: str, down: str) -> list[list[Shape]]:
    """The rains of a map by row and column. Raises ConfigError for a property that there is not."""
    for name in (across, down):
        if name not in LEVELS:
            raise ConfigError(f"{name!r} is not a property of rain; name one of {', '.join(LEVELS)}")
    return [[Shape(**{**asdict(BASE), across: x, down: y}) for x in LEVELS[across]] for y in LEVELS[down]]


def clean_photographs(images: int) -> list[Image]:
    """The middles, (256, 256, 3), of ``images`` embedded test photographs, spread evenly; all of them if there are fewer.

    Raises DataError if a photograph is missing.
    """
    tests = [photo for photo in PHOTOS if photo.split == "test"]
    if images < 1:
        raise DataError(f"{images} images: the rule is one or more; name a number up to {len(tests)}")
    chosen = [tests[number * len(tests) // images] for number in range(min(images, len(tests)))]
    return [_middle(photograph(photo).pixels) for photo in chosen]


def _middle(pixels: Image) -> Image:
    top, left = ((side - min(side, SIDE)) // 2 for side in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def rain_maps(
    network: nn.Module,
    photographs: Sequence[Image],
    seed: int = 0,
    device: str | torch.device = "cpu",
    follow: Callable[[float], None] | None = None,
) -> list[RainMap]:
    """Measure every map of ``MAPS``. Arguments and errors are those of ``rain_cells``."""
    known = rain_cells(network, photographs, seed, device, follow)
    return [RainMap(across, down, [[known[shape] for shape in row] for row in shapes(across, down)]) for across, down in MAPS]


def rain_cells(
    network: nn.Module,
    photographs: Sequence[Image],
    seed: int = 0,
    device: str | torch.device = "cpu",
    follow: Callable[[float], None] | None = None,
) -> dict[Shape, RainCell]:
    """Measure every rain of ``MAPS`` once.

    Args:
        network: as ``rdmc.inference.derain_image`` takes it.
        photographs: clean images, (H, W, 3) RGB, 0 to 255.
        seed: with the place of a photograph, it fixes the drops over it.
        device: the device to compute on.
        follow: called with 1 after each rain that is measured; there are ``count()`` of them.

    Raises CheckpointError for an output that is not finite.
    """
    known: dict[Shape, RainCell] = {}
    for shape in _every():
        known[shape] = _cell(network, photographs, shape, seed, device)
        (follow or (lambda _: None))(1)
    return known


def count() -> int:
    """The number of different rains in all maps."""
    return len(_every())


def _every() -> list[Shape]:
    return list(dict.fromkeys(shape for across, down in MAPS for row in shapes(across, down) for shape in row))


def _cell(network: nn.Module, photographs: Sequence[Image], shape: Shape, seed: int, device: str | torch.device) -> RainCell:
    rainy = [
        render_streaks(clean, shape.rain(), np.random.default_rng((seed, number))) for number, clean in enumerate(photographs)
    ]
    before = np.array([psnr_y(image, clean) for image, clean in zip(rainy, photographs, strict=True)])
    derained = derain_images(network, rainy, device=device)
    after = np.array([psnr_y(image, clean) for image, clean in zip(derained, photographs, strict=True)])
    return RainCell(shape, float(before.mean()), tuple((after - before).tolist()))
