"""The photographs in the scikit-image and scikit-learn wheels, with rendered rain over them.

They make a dataset that needs no download. Splits are by scene: no scene is in two splits. The colour photographs are spread
over the splits. Four grey ones are only in training, for their fine texture: so few scenes contain little that resembles rain
but is not. Credits are those that the packages state (docstrings of ``skimage.data``, README of ``sklearn/datasets/images``).
Nothing is copied into this project.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from rdmc.data.images import Image, Picture, as_png, read_rgb
from rdmc.data.pairs import PairEntry, write_pair
from rdmc.datasets.rain import render
from rdmc.errors import DataError

LONGEST = 720
"""Longest side in pixels; larger photographs are reduced to it."""
HELD_OUT_VARIANTS = 2
"""Number of different rains over each validation and test photograph."""


@dataclass(frozen=True)
class Photo:
    """A photograph in an installed package."""

    name: str
    scene: str
    split: str
    package: str
    file: str
    credit: str


SKIMAGE, SKLEARN = "skimage", "sklearn"
NASA = "NASA, public domain"
MIDDLEBURY = "Middlebury stereo benchmark 2014 (D. Scharstein et al., GCPR 2014)"
CC_BY = "CC BY 2.0"
PHOTOS = (
    Photo("astronaut", "astronaut", "train", SKIMAGE, "data/astronaut.png", NASA),
    Photo("coffee", "coffee", "train", SKIMAGE, "data/coffee.png", "Rachel Michetti, CC0"),
    Photo("motorcycle-left", "motorcycle", "train", SKIMAGE, "data/motorcycle_left.png", MIDDLEBURY),
    Photo("motorcycle-right", "motorcycle", "train", SKIMAGE, "data/motorcycle_right.png", MIDDLEBURY),
    Photo("rocket", "rocket", "train", SKIMAGE, "data/rocket.jpg", "SpaceX, public domain"),
    Photo("retina", "retina", "train", SKIMAGE, "data/retina.jpg", "Mikael Häggström, CC0"),
    Photo("hubble", "hubble", "train", SKIMAGE, "data/hubble_deep_field.jpg", NASA),
    Photo("ihc", "ihc", "train", SKIMAGE, "data/ihc.png", "CMMI, no known copyright restrictions"),
    Photo("camera", "camera", "train", SKIMAGE, "data/camera.png", "Lav Varshney, CC0"),
    Photo("grass", "grass", "train", SKIMAGE, "data/grass.png", "linolafett, CC0"),
    Photo("gravel", "gravel", "train", SKIMAGE, "data/gravel.png", "CC0Textures, CC0"),
    Photo("brick", "brick", "train", SKIMAGE, "data/brick.png", "CC0Textures, CC0"),
    Photo("chelsea", "chelsea", "validation", SKIMAGE, "data/chelsea.png", "Stefan van der Walt, CC0"),
    Photo("china", "china", "test", SKLEARN, "datasets/images/china.jpg", f"danielbuechele, {CC_BY}"),
    Photo("flower", "flower", "test", SKLEARN, "datasets/images/flower.jpg", f"vultilion, {CC_BY}"),
)


@dataclass(frozen=True)
class Shower:
    """One pair to make: a photograph and one rain of ``kind`` over it."""

    photo: Photo
    kind: str
    variant: int
    seed: int

    def make(self, folder: Path) -> PairEntry:
        """Render and write the pair below ``folder``. Raises DataError if the package lacks the photograph."""
        seed = (self.seed, _number(self.kind, self.photo.name), self.variant)
        clean = photograph(self.photo)
        if self.photo.split == "train" and self.variant:
            clean = as_png(vary(clean.pixels, np.random.default_rng((*seed, 1))))
        rainy = as_png(render(clean.pixels, self.kind, seed))
        return write_pair(folder, self.photo.split, f"{self.photo.name}-{self.variant:03d}", self.photo.scene, rainy, clean)


def showers(kind: str, variants: int, seed: int) -> list[Shower]:
    """Return every pair of the dataset: ``variants`` views of each training photograph, two rains over each other one.

    Raises DataError if a photograph is missing.
    """
    for photo in PHOTOS:
        photo_path(photo)
    return [
        Shower(photo, kind, variant, seed)
        for photo in PHOTOS
        for variant in range(variants if photo.split == "train" else HELD_OUT_VARIANTS)
    ]


def vary(pixels: Image, rng: np.random.Generator) -> Image:
    """Return another view of a photograph: turned by a multiple of 90 degrees, and perhaps mirrored.

    A few scenes cannot contain everything that looks like rain but is not. If the photograph is turned before it rains, a
    horizontal stripe becomes one that resembles rain.
    """
    seen = np.rot90(pixels, int(rng.integers(4)))
    return np.ascontiguousarray(seen[:, :: int(rng.choice([-1, 1]))])


def photo_path(photo: Photo) -> Path:
    """Return the path of the photograph in the installed package. Raises DataError if it is missing."""
    spec = find_spec(photo.package)  # does not import it
    for root in (spec.submodule_search_locations if spec else None) or ():
        if (path := Path(root) / photo.file).is_file():
            return path
    raise DataError(
        f"{photo.package}/{photo.file}: not in the installed packages, the embedded dataset needs it; "
        "run `pip install --force-reinstall -c constraints.txt scikit-image scikit-learn`"
    )


@lru_cache(maxsize=2)
def photograph(photo: Photo) -> Picture:
    """Return the photograph, reduced to ``LONGEST``, as a PNG. The last ones are cached, since each is used many times."""
    pixels = read_rgb(photo_path(photo), convert=True)
    scale = LONGEST / max(pixels.shape[:2])
    if scale < 1:
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(pixels.dtype, copy=False)
    return as_png(pixels)


def _number(*parts: str) -> int:
    """Return a hash that is the same in every process, unlike Python's own."""
    return int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:8], "big")
