"""Find clean scenes that are in two splits, or twice in one: by compact codes, confirmed on pixels.

A test is only meaningful if the model was not trained on its scenes. Rain datasets share sources, and their copies are
cropped, recompressed, resized and mirrored, so names and digests do not reveal them (docs/decisions/0008).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from rdmc.data.images import Grey, decode_grey, read_bytes
from rdmc.data.pairs import SPLITS, Fault, sha256
from rdmc.datasets.likeness import (
    VIEWS,
    Code,
    Pairs,
    View,
    agreement,
    band,
    code,
    likely_views,
    near,
    same_levels,
    shifted_correlation,
    square,
)
from rdmc.errors import DataError

Part = Literal["whole", "left", "right"]
Relation = Literal["leak", "duplicate"]
Pair = tuple[int, int]
T = TypeVar("T")

CANDIDATE = 0.7
"""Pixels are compared if the cosine of two codes reaches this. Copies cropped by up to 4 % of a side reach 0.85."""
THUMBNAIL, FULL = 64, 256
"""Pixels a side of the thumbnails for a first comparison of candidates, and of the pictures for the decision."""
GLANCE = 0.4
"""Thumbnails are only aligned if their shifted correlation reaches this. Copies cropped by up to 8 % of a side have 0.48 and
more; other scenes with similar codes mostly have less than 0.4."""
FIRST_LOOK = 0.25
"""The pictures are only read again if the agreement of their thumbnails reaches this."""
NEAREST = 64
"""Most candidates for each view of an image: those with the most similar codes."""
PART, GLANCED, BATCH = 4096, 512, 64
"""Candidates whose thumbnails are compared before any of them is confirmed; of these, how many a thread compares at once; and
those that are confirmed before known duplicates are filtered out again."""
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


def find_twins(
    looks: Sequence[Look],
    score: float,
    threads: int | None = None,
    track: Callable[[Sequence[Pairs]], Iterable[Pairs]] = lambda parts: parts,
) -> list[Twin]:
    """Return the leaks and duplicates among ``looks`` whose pixels agree by ``score`` or more, in the order of ``looks``.

    Of the images of a later split, at most the ``NEAREST`` to an image are compared with it, so every image that leaks is
    returned with at least one of them. Of duplicates, as many are returned as connect all images of a scene: two for three
    images. ``track`` may show the progress: it gets all candidates, in parts, and yields them.
    """
    found: list[Twin] = []
    scenes: dict[tuple[str, str, str], int] = {}
    group = [scenes.setdefault(_key(item.scene), position) for position, item in enumerate(looks)]

    def is_open(pair: Pair) -> bool:
        one, other = (looks[position].scene for position in pair)
        return one.split != other.split or _root(group, pair[0]) != _root(group, pair[1])

    pairs = candidates(looks)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for part in track([pairs[start : start + PART] for start in range(0, len(pairs), PART)]):
            asked = [pair for one, other in part if is_open(pair := (int(one), int(other)))]
            seen = pool.map(lambda some: _glance(looks, some), _batches(asked, GLANCED))
            for batch in _batches([item for items in seen for item in items], BATCH):
                batch = [(pair, views) for pair, views in batch if is_open(pair)]
                twins = pool.map(lambda item: _confirm(looks[item[0][0]], looks[item[0][1]], item[1], score), batch)
                for (pair, _), twin in zip(batch, twins, strict=True):
                    if twin is not None and is_open(pair):
                        found.append(twin)
                        if twin.relation == "duplicate":
                            group[_root(group, pair[1])] = _root(group, pair[0])
    return found


def candidates(looks: Sequence[Look]) -> Pairs:
    """Return pairs of positions that may be leaks or duplicates, by code or digest, sorted: (P, 2), the smaller one first."""
    codes = np.stack([item.code for item in looks]) if looks else np.empty((0, 1, 1), np.float32)
    places = _positions((item.scene.dataset, item.scene.split) for item in looks)
    splits = _positions(item.scene.split for item in looks)
    later = [(splits[one], splits[other]) for one, other in combinations([split for split in SPLITS if split in splits], 2)]
    found = [_equal(looks)]
    for one, other in [*((place, place) for place in places.values()), *later]:
        pairs = near(codes[one], codes[other], CANDIDATE, NEAREST)
        found.append(np.stack([one[pairs[:, 0]], other[pairs[:, 1]]], 1))
    whole = np.unique(np.sort(np.concatenate(found), 1), axis=0)
    name = np.empty(len(looks), np.int64)
    for number, positions in enumerate(_positions(_key(item.scene) for item in looks).values()):
        name[positions] = number
    return np.asarray(whole[name[whole[:, 0]] != name[whole[:, 1]]], np.int64)


def _equal(looks: Sequence[Look]) -> Pairs:
    """The pairs of equal digest: each file and the next one of its place, and the first ones of each later split."""
    found: list[Pair] = []
    for positions in _positions(item.digest for item in looks).values():
        if len(positions) > 1:
            scenes = {int(position): looks[position].scene for position in positions}
            places = _positions((scene.dataset, scene.split) for scene in scenes.values())
            for place in places.values():
                found += pairwise(positions[place].tolist())
            for one, other in combinations(SPLITS, 2):
                earlier, later = ([at for at, scene in scenes.items() if scene.split == split] for split in (one, other))
                found += product(earlier, later[:NEAREST])
    return np.array(found, np.int64).reshape(-1, 2)


def distinct(looks: Iterable[Look], twins: Iterable[Twin]) -> dict[tuple[str, str], int]:
    """Return the number of distinct scenes by (dataset, split). Duplicates count as one."""
    names = Counter((dataset, split) for dataset, split, _ in {_key(item.scene) for item in looks})
    names.subtract((twin.first.dataset, twin.first.split) for twin in twins if twin.relation == "duplicate")
    return dict(names)


def _glance(looks: Sequence[Look], pairs: Sequence[Pair]) -> list[tuple[Pair, list[View]]]:
    """Return the pairs whose thumbnails may show one scene, each with the views of the second in which they may."""
    both = [_in_order(looks[one], looks[other]) for one, other in pairs]
    codes = [np.stack([items[side].code for items in both]) for side in (0, 1)]
    likely = likely_views(codes[0], codes[1], CANDIDATE)
    asked = [(number, view) for number, views in enumerate(likely) for view in views]
    chosen = {number: [VIEWS[0]] for number, (one, other) in enumerate(both) if one.digest == other.digest}
    if asked:
        bands = {key: band(item.thumbnail) for key, item in {id(item): item for items in both for item in items}.items()}
        first = np.stack([bands[id(both[number][0])] for number, _ in asked])
        second = np.stack([view.of(bands[id(both[number][1])]) for number, view in asked])
        for (number, view), correlation in zip(asked, shifted_correlation(first, second), strict=True):
            one, other = both[number]
            if correlation >= GLANCE or same_levels(one.thumbnail, view.of(other.thumbnail)):
                chosen.setdefault(number, []).append(view)
    return [(pairs[number], views) for number, views in sorted(chosen.items())]


def _confirm(one: Look, other: Look, views: Sequence[View], score: float) -> Twin | None:
    """Align the thumbnails and, if they agree, the pictures, in each of the views."""
    first, second = _in_order(one, other)
    relation: Relation = "leak" if first.scene.split != second.scene.split else "duplicate"
    if first.digest == second.digest:
        return Twin(first.scene, second.scene, relation, str(VIEWS[0]), 1.0)
    pictures: tuple[Grey, Grey] | None = None
    for view in views:
        if agreement(first.thumbnail, view.of(second.thumbnail)) < FIRST_LOOK:
            continue
        pictures = pictures or (first.scene.read(FULL)[0], second.scene.read(FULL)[0])
        if (found := agreement(pictures[0], view.of(pictures[1]))) >= score:
            return Twin(first.scene, second.scene, relation, str(view), round(found, 3))
    return None


def _in_order(one: Look, other: Look) -> tuple[Look, Look]:
    """The two with the one of the earlier split first."""
    return (one, other) if SPLITS.index(one.scene.split) <= SPLITS.index(other.scene.split) else (other, one)


def _key(scene: Scene) -> tuple[str, str, str]:
    return scene.dataset, scene.split, scene.name


def _root(group: list[int], item: int) -> int:
    """Return the first of the items that are known to show the same scene as ``item``."""
    while group[item] != item:
        group[item] = group[group[item]]
        item = group[item]
    return item


def _positions(keys: Iterable[object]) -> dict[object, npt.NDArray[np.int64]]:
    """Return the positions of each key."""
    found: dict[object, list[int]] = {}
    for position, key in enumerate(keys):
        found.setdefault(key, []).append(position)
    return {key: np.array(positions, np.int64) for key, positions in found.items()}


def _batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
