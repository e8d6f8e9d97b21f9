"""Find clean scenes that are in two splits, or twice in one: by compact codes, confirmed on pixels.

A test is only meaningful if the model was not trained on its scenes. Rain datasets share sources, and their copies are
cropped, recompressed, resized and mirrored, so names and digests do not reveal them (docs/decisions/0008).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from rdmc.data.images import Grey, decode_grey, read_bytes
from rdmc.data.pairs import SPLITS, Fault, sha256
from rdmc.datasets.likeness import VIEWS, Code, agreement, best_likeness, code, likely_views, shifted_correlation, square
from rdmc.errors import DataError

Part = Literal["whole", "left", "right"]
Relation = Literal["leak", "duplicate"]

CANDIDATE = 0.7
"""Pixels are compared if the cosine of two codes reaches this. Copies cropped by up to 4 % of a side reach 0.85."""
THUMBNAIL, FULL = 64, 256
"""Pixels a side of the thumbnails for a first comparison of candidates, and of the pictures for the decision."""
GLANCE = 0.4
"""Thumbnails are only aligned if their shifted correlation reaches this. Copies cropped by up to 8 % of a side have 0.48 and
more; other scenes with similar codes mostly have less than 0.4."""
FIRST_LOOK = 0.25
"""The pictures are only read again if the agreement of their thumbnails reaches this."""
ROWS = 512
"""Number of codes that are compared with all others at once."""
BATCH = 64
"""Candidates that are confirmed before known duplicates are filtered out again."""
DRAFT = 2
"""A JPEG may be decoded at reduced size as long as it keeps this many times the required pixels a side."""


@dataclass(frozen=True)
class Scene:
    """A clean image and the pairs that show it."""

    dataset: str
    split: str
    """One of ``rdmc.data.pairs.SPLITS``."""
    name: str
    """Name of the scene within its split."""
    path: Path
    part: Part = "whole"
    """The part of the file that is the clean image."""
    pairs: tuple[str, ...] = ()
    """Names of the pairs with this image."""

    def read(self, side: int) -> tuple[Grey, str]:
        """Return the luma as a square of ``side`` pixels, and the digest of file and part. Raises DataError."""
        data = read_bytes(self.path)
        grey = decode_grey(data, str(self.path), DRAFT * side)
        return square(self.cut(grey), side), f"{self.part} {sha256(data)}"

    def cut(self, image: Grey) -> Grey:
        """Return the clean part of the file's pixels (H, W) or (H, W, 3). Raises DataError if there is none."""
        half = image.shape[1] // 2
        if self.part == "whole":
            return image
        if not half:
            raise DataError(f"{self.path}: {image.shape[1]} pixels wide, two halves need at least two; remove it")
        return image[:, :half] if self.part == "left" else image[:, -half:]


@dataclass(frozen=True)
class Look:
    """The data of a scene that is kept to find similar ones: about 4 KB."""

    scene: Scene
    digest: str
    thumbnail: Grey
    """Luma, (THUMBNAIL, THUMBNAIL)."""
    code: Code


@dataclass(frozen=True)
class Twin:
    """Two images of one scene."""

    first: Scene
    """The image of the earlier split. It has to be removed if the two are a leak."""
    second: Scene
    relation: Relation
    """leak: in two splits, of one or of two datasets. duplicate: twice in one split of a dataset, under two names."""
    view: str
    """The view in which the second image equals the first."""
    score: float
    """Agreement of the pixels, 0 to 1; 1 also for equal files."""


def look(scene: Scene) -> Look | Fault:
    """Read a scene once, at a reduced size. Return a fault with the reason if it cannot be read."""
    try:
        grey, digest = scene.read(THUMBNAIL)
    except DataError as error:
        return Fault(str(scene.path), str(error).removeprefix(f"{scene.path}: "))
    return Look(scene, digest, grey, code(grey))


def look_at_all(scenes: Sequence[Scene], threads: int | None = None) -> Iterator[Look | Fault]:
    """Yield ``look`` of each scene in order, in threads (default: one per core); decoding releases Python's lock."""
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        yield from pool.map(look, scenes)


def find_twins(looks: Sequence[Look], score: float, threads: int | None = None) -> list[Twin]:
    """Return the leaks and duplicates among ``looks`` whose pixels agree by ``score`` or more, in the order of ``looks``.

    Every leaking pair of images is returned. Of duplicates, as many are returned as connect all images of a scene: two for
    three images.
    """
    found: list[Twin] = []
    scenes: dict[tuple[str, str, str], int] = {}
    group = [scenes.setdefault(_key(item.scene), position) for position, item in enumerate(looks)]

    def is_open(pair: tuple[int, int]) -> bool:
        one, other = (looks[position].scene for position in pair)
        return one.split != other.split or _root(group, pair[0]) != _root(group, pair[1])

    pairs = candidates(looks)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        while batch := list(islice(pairs, BATCH)):
            asked = [pair for pair in batch if is_open(pair)]
            for pair, twin in zip(asked, pool.map(lambda ij: _confirm(looks[ij[0]], looks[ij[1]], score), asked), strict=True):
                if twin is not None and is_open(pair):
                    found.append(twin)
                    if twin.relation == "duplicate":
                        group[_root(group, pair[1])] = _root(group, pair[0])
    return found


def candidates(looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    """Yield pairs of positions that may be leaks or duplicates, by code or digest. The first position is the smaller."""
    if not looks:
        return
    codes = np.stack([item.code for item in looks])
    split = _numbers(item.scene.split for item in looks)
    place = _numbers((item.scene.dataset, item.scene.split) for item in looks)
    name = _numbers(_key(item.scene) for item in looks)
    digest = _numbers(item.digest for item in looks)
    for start in range(0, len(looks), ROWS):
        rows, rest = slice(start, start + ROWS), slice(start, None)
        alike = best_likeness(codes[rows], codes[rest]) >= CANDIDATE
        alike |= digest[rows, None] == digest[rest]
        alike &= (split[rows, None] != split[rest]) | (place[rows, None] == place[rest])
        alike &= name[rows, None] != name[rest]
        for i, j in np.argwhere(alike):
            if i < j:
                yield start + int(i), start + int(j)


def distinct(looks: Iterable[Look], twins: Iterable[Twin]) -> dict[tuple[str, str], int]:
    """Return the number of distinct scenes by (dataset, split). Duplicates count as one."""
    names = Counter((dataset, split) for dataset, split, _ in {_key(item.scene) for item in looks})
    names.subtract((twin.first.dataset, twin.first.split) for twin in twins if twin.relation == "duplicate")
    return dict(names)


def _confirm(one: Look, other: Look, score: float) -> Twin | None:
    """Compare the thumbnails and, if they agree, the pictures, in every likely view."""
    first, second = sorted((one, other), key=lambda item: SPLITS.index(item.scene.split))
    relation: Relation = "leak" if first.scene.split != second.scene.split else "duplicate"
    if first.digest == second.digest:
        return Twin(first.scene, second.scene, relation, str(VIEWS[0]), 1.0)
    pictures: tuple[Grey, Grey] | None = None
    for view in likely_views(first.code, second.code, CANDIDATE):
        turned = view.of(second.thumbnail)
        if shifted_correlation(first.thumbnail, turned) < GLANCE or agreement(first.thumbnail, turned) < FIRST_LOOK:
            continue
        pictures = pictures or (first.scene.read(FULL)[0], second.scene.read(FULL)[0])
        if (found := agreement(pictures[0], view.of(pictures[1]))) >= score:
            return Twin(first.scene, second.scene, relation, str(view), round(found, 3))
    return None


def _key(scene: Scene) -> tuple[str, str, str]:
    return scene.dataset, scene.split, scene.name


def _root(group: list[int], item: int) -> int:
    """Return the first of the items that are known to show the same scene as ``item``."""
    while group[item] != item:
        group[item] = group[group[item]]
        item = group[item]
    return item


def _numbers(keys: Iterable[object]) -> npt.NDArray[np.int64]:
    """Return a number for each key, equal for equal keys."""
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)
