"""The photographs in the scikit-image, scikit-learn and ai-benchmark wheels, with rendered rain over them.

They make a dataset that needs no download. Splits are by scene: no scene is in two splits. ``PHOTOS`` has the credits: those
that the packages state (docstrings of ``skimage.data``, README of ``sklearn/datasets/images``, metadata of ai-benchmark). The
files stay in the packages. ``embedded.sha256`` has their digests, so the same photographs are used on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from rdmc.data.images import Image, Picture, as_png, decode, read_bytes
from rdmc.data.pairs import PairEntry, sha256, write_pair
from rdmc.datasets.rain import render
from rdmc.errors import DataError

LONGEST = 720
"""Longest side in pixels; larger photographs are reduced to it."""
HELD_OUT_VARIANTS = 1
"""Number of different rains over each validation and test photograph. Another scene says more than another rain."""
DIGESTS = Path(__file__).with_suffix(".sha256")
"""SHA-256 of every photograph, in the format of ``sha256sum``."""


@dataclass(frozen=True)
class Photo:
    """A photograph in an installed package."""

    name: str
    scene: str
    split: str
    package: str
    """The package's import name."""
    file: str
    """Path of the file in the package."""
    credit: str
    upright: bool = False
    """Whether views of the photograph keep its upper side up (``vary``)."""


SKIMAGE, SKLEARN, AI_BENCHMARK = "skimage", "sklearn", "ai_benchmark"
DISTRIBUTIONS = {SKIMAGE: "scikit-image", SKLEARN: "scikit-learn", AI_BENCHMARK: "ai-benchmark"}
"""The name by which pip knows each package."""
VERSIONS = {AI_BENCHMARK: "0.1.2"}
"""The only version of a package that may be used. Of the others, any version with the same photographs may."""
NASA = "NASA, public domain"
MIDDLEBURY = "Middlebury stereo benchmark 2014 (D. Scharstein et al., GCPR 2014)"
CC_BY = "CC BY 2.0"
IGNATOV = "AI Benchmark, Andrey Ignatov, Apache-2.0"
STREETS = {"train": range(70), "validation": range(70, 78), "test": range(78, 100)}
"""Numbers of ai-benchmark's photographs by split. Splits are blocks, because neighbouring numbers show neighbouring streets."""
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
    *(
        Photo(f"street-{n:02d}", f"street-{n:02d}", split, AI_BENCHMARK, f"data/enhancement/{n}.jpg", IGNATOV, upright=True)
        for split, numbers in STREETS.items()
        for n in numbers
    ),
)
"""Every photograph. The grey ones of scikit-image are only in training, for their fine texture (docs/decisions/0005)."""


@dataclass(frozen=True)
class Shower:
    """One pair to make: a photograph and one rain of ``kind`` over it."""

    photo: Photo
    kind: str
    variant: int
    seed: int

    def source(self) -> str:
        """Return the digest of the photograph, which ``check_photographs`` has compared with the file."""
        return digests()[f"{self.photo.package}/{self.photo.file}"]

    def make(self, folder: Path) -> PairEntry:
        """Render and write the pair below ``folder``. Raises DataError if the photograph is missing or changed."""
        seed = (self.seed, _number(self.kind, self.photo.name), self.variant)
        clean = photograph(self.photo)
        if self.photo.split == "train" and self.variant:
            clean = as_png(vary(clean.pixels, np.random.default_rng((*seed, 1)), self.photo.upright))
        rainy = as_png(render(clean.pixels, self.kind, seed))
        return write_pair(folder, self.photo.split, f"{self.photo.name}-{self.variant:03d}", self.photo.scene, rainy, clean)


def showers(kind: str, variants: int, seed: int) -> list[Shower]:
    """Return every pair of the dataset: ``variants`` views of each training photograph, one rain over each other one.

    With 0 ``variants`` the dataset has no training pairs. Raises DataError if a package or photograph is missing or another.
    """
    check_photographs()
    return [
        Shower(photo, kind, variant, seed)
        for photo in PHOTOS
        for variant in range(variants if photo.split == "train" else HELD_OUT_VARIANTS)
    ]


def vary(pixels: Image, rng: np.random.Generator, upright: bool = False) -> Image:
    """Return another view of a photograph: turned by a multiple of 90 degrees unless ``upright``, and perhaps mirrored.

    A few scenes cannot contain everything that looks like rain but is not. If a photograph is turned before it rains, a
    horizontal stripe becomes one that resembles rain. Streets have a way up, and there are enough of them.
    """
    seen = pixels if upright else np.rot90(pixels, int(rng.integers(4)))
    return np.ascontiguousarray(seen[:, :: int(rng.choice([-1, 1]))])


def check_photographs() -> None:
    """Check versions of packages and digests of all photographs. Raises DataError, which names the first that is wrong."""
    for package in dict.fromkeys(photo.package for photo in PHOTOS):
        _check_version(package)
    for photo in PHOTOS:
        photo_bytes(photo)


@lru_cache(maxsize=2)
def photograph(photo: Photo) -> Picture:
    """Return the photograph, reduced to ``LONGEST``, as a PNG. The last ones are cached, since each is used many times.

    Raises DataError if it is missing or changed.
    """
    pixels = decode(photo_bytes(photo), f"{photo.package}/{photo.file}", convert=True)
    scale = LONGEST / max(pixels.shape[:2])
    if scale < 1:
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(pixels.dtype, copy=False)
    return as_png(pixels)


def photo_bytes(photo: Photo) -> bytes:
    """Return the photograph's file. Raises DataError if the package or the file is missing, or the file changed."""
    file = f"{photo.package}/{photo.file}"
    data = read_bytes(photo_path(photo))
    known, found = digests()[file], sha256(data)
    if found != known:
        raise _unusable(
            photo.package, f"{file}: is another file in {_installed(photo.package)} (sha256 {found[:12]}…, not {known[:12]}…)"
        )
    return data


def photo_path(photo: Photo) -> Path:
    """Return the path of the photograph in the installed package. Raises DataError if it is missing."""
    spec = find_spec(photo.package)  # does not import it: ai_benchmark would need TensorFlow
    if spec is None:
        raise _unusable(photo.package, f"{photo.package}: is not installed")
    for root in spec.submodule_search_locations or ():
        if (path := Path(root) / photo.file).is_file():
            return path
    raise _unusable(photo.package, f"{photo.package}/{photo.file}: is not in {_installed(photo.package)}")


@cache
def digests() -> Mapping[str, str]:
    """Return the SHA-256 (hex) of each photograph by ``package/file``."""
    return {file: digest for digest, file in (line.split("  ") for line in DIGESTS.read_text().splitlines())}


def _check_version(package: str) -> None:
    """Raise DataError if a package is of another version than the one that may be used."""
    wanted = VERSIONS.get(package)
    if wanted and find_spec(package) and _installed(package) != f"{DISTRIBUTIONS[package]} {wanted}":
        raise _unusable(package, f"{package}: is of {_installed(package)}, the rule is version {wanted}")


def _installed(package: str) -> str:
    """Return a package's name for pip and its installed version, such as ``scikit-image 0.26.0``."""
    name = DISTRIBUTIONS[package]
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} of unknown version"


def _unusable(package: str, what: str) -> DataError:
    name = DISTRIBUTIONS[package]
    return DataError(f"{what}; the embedded dataset needs it: run `pip install --force-reinstall -c constraints.txt {name}`")


def _number(*parts: str) -> int:
    """Return a hash that is the same in every process, unlike Python's own."""
    return int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:8], "big")
