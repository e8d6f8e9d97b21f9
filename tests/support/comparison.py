"""Folders of pairs, outputs and models for the tests of ``compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rdmc.data.images import Image, write_png
from rdmc.datasets.rain import render
from rdmc.models.base import Restorer
from rdmc.models.rdmc import RDMC, RDMCConfig
from tests.support.data import scene

CPU = torch.device("cpu")


def pair_folder(root: Path, count: int = 4, rainy: str = "rain", clean: str = "norain") -> Path:
    """Write ``count`` pairs of smooth scenes and light rain below ``root``; return it."""
    for number in range(count):
        picture = scene(number)
        write_png(root / clean / f"{number}.png", picture)
        write_png(root / rainy / f"{number}.png", render(picture, "light", (number,)))
    return root


def save_outputs(root: Path, images: Sequence[Image]) -> Path:
    """Write images as the outputs of pairs 0, 1, …; return the folder."""
    for number, image in enumerate(images):
        write_png(root / f"{number}.png", image)
    return root


class Shifted(Restorer):
    """A network that changes every pixel by some levels of 255, or, ``broken``, returns NaN for images that are bright."""

    def __init__(self, levels: float, broken: bool = False) -> None:
        super().__init__(RDMCConfig(width=2, passes=1, stem=2))
        self.levels, self.broken = levels, broken
        self.own = torch.nn.Parameter(torch.zeros(1))

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """The changed images."""
        bad = self.broken and float(rainy.mean()) > BRIGHT
        return [torch.full_like(rainy, torch.nan) if bad else rainy + self.levels / 255]


BRIGHT = 0.43
"""Mean of an image from which a broken ``Shifted`` fails: that of some scenes of ``pair_folder``."""


def small_network(seed: int = 0) -> RDMC:
    """A network of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RDMC(RDMCConfig(width=2, passes=1, stem=2)).eval()
