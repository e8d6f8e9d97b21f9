"""Clean scenes that are in two splits, or twice in one: found by compact codes, confirmed on pixels.

A test is worth something only where its scenes were not trained on. Datasets of rain share sources, and their copies are
cropped, recompressed, resized and mirrored; names and digests do not tell (docs/decisions/0008).
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
"""Cosine of two codes from which pixels are compared. Copies cropped by up to 4 % of a side have 0.85 and more."""
THUMBNAIL, FULL = 64, 256
"""Pixels a side of the pictures that are kept for a first look at candidates, and of those that decide."""
GLANCE = 0.4
"""Shifted correlation of two thumbnails below which they are not aligned. Copies cropped by up to 8 % of a side have 0.48 and
more, other scenes with like codes mostly less than 0.4."""
FIRST_LOOK = 0.25
"""Agreement of two thumbnails below which the pictures are not read again."""
ROWS = 512
"""Codes compared with all others at once."""
BATCH = 64
"""Candidates confirmed before it is asked again which are known already."""
DRAFT = 2
"""A JPEG may be reduced while it keeps this many times the pixels that are needed."""


@dataclass(frozen=True)
class Scene:
    """A clean image, by the pairs that show it."""

    dataset: str
    split: str
    """One of ``rdmc.data.pairs.SPLITS``."""
    name: str
    """The scene within its split."""
    path: Path
    part: Part = "whole"
    """The part of the file that is the clean image."""
    pairs: tuple[str, ...] = ()
    """Names of the pairs with this image."""

    def read(self, side: int) -> tuple[Grey, str]:
        """The luma as a square of ``side`` pixels, and the digest of file and part. Raises DataError."""
        data = read_bytes(self.path)
        grey = decode_grey(data, str(self.path), DRAFT * side)
        return square(self.cut(grey), side), f"{self.part} {sha256(data)}"

    def cut(self, image: Grey) -> Grey:
        """The clean part of the file's pixels (H, W) or (H, W, 3). Raises DataError where there is none."""
        half = image.shape[1] // 2
        if self.part == "whole":
            return image
        if not half:
            raise DataError(f"{self.path}: {image.shape[1]} pixels wide, two halves need two at least; remove it")
        return image[:, :half] if self.part == "left" else image[:, -half:]


@dataclass(frozen=True)
class Look:
    """What is kept of a scene for finding its likes: some 4 KB."""

    scene: Scene
    digest: str
    thumbnail: Grey
    """(THUMBNAIL, THUMBNAIL)."""
    code: Code


@dataclass(frozen=True)
class Twin:
    """Two images of one scene."""

    first: Scene
    """Of the earlier split: what has to go where the two are a leak."""
    second: Scene
    relation: Relation
    """leak: in two splits, of one dataset or of two. duplicate: twice in one split of a dataset, under two names."""
    view: str
    """What makes the second like the first."""
    score: float
    """Agreement of the pixels, 0 to 1; 1 also for equal files."""


def look(scene: Scene) -> Look | Fault:
    """Read a scene once, at a reduced size. What cannot be read is a fault, with the reason."""
    try:
        grey, digest = scene.read(THUMBNAIL)
    except DataError as error:
        return Fault(str(scene.path), str(error).removeprefix(f"{scene.path}: "))
    return Look(scene, digest, grey, code(grey))


def look_at_all(scenes: Sequence[Scene], threads: int | None = None) -> Iterator[Look | Fault]:
    """``look`` in threads (default: one per core), in the order of ``scenes``: decoding leaves Python's lock."""
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        yield from pool.map(look, scenes)


def find_twins(looks: Sequence[Look], score: float, threads: int | None = None) -> list[Twin]:
    """The leaks and duplicates among ``looks`` whose pixels agree by ``score`` or more, in the order of ``looks``.

    Every leaking pair of images is found. Of duplicates as many as join all images of a scene: of three, two.
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
    """Pairs of positions that may be leaks or duplicates, by code or digest; the first position is the smaller."""
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
    """How many different scenes each split of each dataset has, its duplicates counted as one; by (dataset, split)."""
    names = Counter((dataset, split) for dataset, split, _ in {_key(item.scene) for item in looks})
    names.subtract((twin.first.dataset, twin.first.split) for twin in twins if twin.relation == "duplicate")
    return dict(names)


def _confirm(one: Look, other: Look, score: float) -> Twin | None:
    """Compare the thumbnails and, where they agree, the pictures, in every likely view."""
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
    """The first of the items that are known to show one scene."""
    while group[item] != item:
        group[item] = group[group[item]]
        item = group[item]
    return item


def _numbers(keys: Iterable[object]) -> npt.NDArray[np.int64]:
    """A number for each key, equal for equal ones."""
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)
