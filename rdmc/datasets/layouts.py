"""Detect the layout of the pairs in a folder from the names of its files and folders.

- ``folder``: rainy and clean pictures in separate folders, or in one, distinguished by name (``rain-1``, ``norain-1``)
- ``one-clean-many-rainy``: the same, with several rainy pictures for each clean one
- ``side-by-side``: every file holds both halves
- ``list``: a text file names a rainy and a clean file per line
- ``unpaired``: pictures without a partner

The names of folders give the split too (``train``, ``test``, ``RainTrainH``, ``train_set`` …). Pictures are matched only
within a group of sibling folders, so ``Test100/input/1.png`` is never paired with ``Rain100H/target/1.png``.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from rdmc.data.images import read_rgb
from rdmc.data.pairs import SPLITS, Fault, clean_name
from rdmc.datasets.checks import leaning
from rdmc.datasets.matching import Match, distinct, match_files, match_halves
from rdmc.errors import DataError

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp"}
RAINY = frozenset(["rain", "rainy", "rainy_image", "rainy_images", "rain_image", "input", "inputs", "lq", "data"])
CLEAN = frozenset(["norain", "clean", "gt", "groundtruth", "ground_truth", "target", "targets", "label", "labels"])
"""Names of folders with clean pictures, in lower case. ``RAINY`` has those with rainy ones."""
NAMED = {
    "layer": re.compile(r"^rain(streak|region)s?[-_ ]?\d", re.IGNORECASE),  # the rain itself, in old copies
    "clean": re.compile(r"^norain|[-_](clean|norain|gt)$|-C-\d+$", re.IGNORECASE),
    "rainy": re.compile(r"^rain[-_ ]?\d|[-_]rain(y)?$|-R-\d+$", re.IGNORECASE),
}
"""Patterns of file names, without extension, by role."""
SPLIT_NAMES = {"train": re.compile(r"train|^rain12600$"), "test": re.compile(r"test"), "validation": re.compile(r"(^|[-_])val")}
"""Patterns of the lower-case names of folders and lists, by split."""
LONGEST = 4096
"""Most characters that are read of a line in a list."""
SAMPLED = 9
"""How many files are opened to check whether they hold two halves."""
ALIKE = 0.5
"""Two halves show one scene if the correlation of their small copies is above this."""


@dataclass(frozen=True)
class Hints:
    """Facts about a benchmark's files that their names do not give."""

    rainy: frozenset[str] = frozenset()
    """Additional names of folders with rainy pictures, in lower case."""
    left: str = ""
    """Which half of side-by-side files is on the left: clean, rainy, or empty to detect it."""
    split: str = ""
    """The split of files whose folders do not give one."""
    tests_from: int = 0
    """If folders give no split, scenes with this number or a higher one are the test split; 0 for no such rule."""


@dataclass(frozen=True)
class Found:
    """The pairs of a folder; the pictures are not read yet."""

    layout: str
    matches: Sequence[Match]
    faults: Sequence[Fault] = ()
    left: str = ""
    """The left half of side-by-side files, clean or rainy; empty for other layouts."""

    def counts(self) -> dict[str, int]:
        """Return the number of pairs of each split that has any."""
        found = {split: sum(match.split == split for match in self.matches) for split in SPLITS}
        return {split: count for split, count in found.items() if count}

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.counts().items())
        return self.layout + (f", {self.left} on the left" if self.left else "") + f": {counts or 'no'} pairs"


def find_pairs(root: Path, hints: Hints) -> Found:
    """Return the pairs below ``root``. Raises DataError if there are no pictures, or if their split is unclear."""
    files = list(_pictures(root))
    if not files:
        raise DataError(f"{root}: holds no pictures ({' '.join(sorted(PICTURES))}); name the folder of an unpacked copy")
    if listed := [match for path in sorted(root.glob("*.txt")) for match in _from_list(root, path, hints)]:
        return Found("list", distinct(listed))
    places = [_place(root, path, hints) for path in files]
    if {"rainy", "clean"} <= {place.role for place in places}:
        return _from_places(places)
    sides = [side for path in files[:: max(len(files) // SAMPLED, 1)] if (side := clean_side(path)) is not None]
    if 2 * len(sides) > min(len(files), SAMPLED):
        left = hints.left or ("clean" if sum(sides) > 0 else "rainy")
        return _from_halves(places, left)
    return Found("unpaired", [])


def clean_side(path: Path) -> float | None:
    """Return a number above zero if the left half looks clean, below if the right one does; None if they are not a pair."""
    try:
        pixels = read_rgb(path, convert=True)
    except DataError:
        return None
    if pixels.shape[1] % 2 or pixels.shape[1] < 64 or pixels.shape[0] < 32:
        return None
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.float32)
    left, right = (np.ascontiguousarray(half) for half in np.hsplit(grey, 2))
    small = [cv2.resize(half, (32, 32), interpolation=cv2.INTER_AREA).ravel() for half in (left, right)]
    if min(float(half.std()) for half in small) == 0 or float(np.min(np.corrcoef(np.stack(small)))) < ALIKE:
        return None
    return sum(leaning(right, left))


@dataclass(frozen=True)
class _Place:
    """The place of a picture: its role (rainy, clean, layer or empty), its split, and the folder that contains its partner."""

    path: Path
    role: str
    split: str
    group: PurePosixPath


def _place(root: Path, path: Path, hints: Hints) -> _Place:
    relative = PurePosixPath(path.relative_to(root).as_posix())
    split = _split(relative.parts[:-1]) or _by_number(path.stem, hints) or _split([root.name]) or hints.split
    if not split:
        raise DataError(f"{path}: no folder name gives the split; set `split: train` or `split: test` for this dataset")
    for folder in relative.parents:
        role = "rainy" if folder.name.lower() in RAINY | hints.rainy else "clean" if folder.name.lower() in CLEAN else ""
        if role:
            return _Place(path, role, split, folder.parent)
    role = next((role for role, pattern in NAMED.items() if pattern.search(path.stem)), "")
    return _Place(path, role, split, relative.parent)


def _split(names: Iterable[str]) -> str:
    return next((split for name in names for split, word in SPLIT_NAMES.items() if word.search(name.lower())), "")


def _by_number(stem: str, hints: Hints) -> str:
    number = re.match(r"\d+", stem)
    return ("test" if int(number[0]) >= hints.tests_from else "train") if number and hints.tests_from else ""


def _from_places(places: Iterable[_Place]) -> Found:
    groups: dict[tuple[str, PurePosixPath], list[_Place]] = defaultdict(list)
    matches: list[Match] = []
    faults: list[Fault] = []
    for place in places:
        if place.role in ("rainy", "clean"):
            groups[place.split, place.group].append(place)
        elif not place.role:
            faults.append(Fault(str(place.path), "neither rainy nor clean by its name or folder; move it away", "unmatched"))
    groups_of = Counter(split for split, _ in groups)
    for (split, group), members in groups.items():
        halves = {role: [place.path for place in members if place.role == role] for role in ("rainy", "clean")}
        found, alone = match_files(split, halves["rainy"], halves["clean"])
        matches += [_inside(match, group) for match in found] if groups_of[split] > 1 else found
        faults += alone
    many = len({match.clean for match in matches}) < len(matches)
    return Found("one-clean-many-rainy" if many else "folder", distinct(matches), faults)


def _from_halves(places: Sequence[_Place], left: str) -> Found:
    groups: dict[tuple[str, PurePosixPath], list[Path]] = defaultdict(list)
    for place in places:
        groups[place.split, place.group].append(place.path)
    groups_of = Counter(split for split, _ in groups)
    matches: list[Match] = []
    for (split, group), files in groups.items():
        found = match_halves(split, files, left)
        matches += [_inside(match, group) for match in found] if groups_of[split] > 1 else found
    return Found("side-by-side", distinct(matches), left=left)


def _inside(match: Match, group: PurePosixPath) -> Match:
    """Return the match with its group's name before its own, because other groups of the split count from 1 as well."""
    word = clean_name(group.name)
    name = match.name if match.name.startswith(word) else clean_name(f"{word}-{match.name}")
    return replace(match, name=name, scene=clean_name(f"{match.split}-{word}-{match.scene.removeprefix(f'{match.split}-')}"))


def _from_list(root: Path, path: Path, hints: Hints) -> Iterator[Match]:
    """Yield the pairs of a list; none if the text is not a list. Raises DataError for a file outside ``root``."""
    split = _split([path.stem]) or hints.split or "train"
    with path.open(errors="replace") as lines:
        for line in iter(partial(lines.readline, LONGEST), ""):
            names = [PurePosixPath(word.lstrip("/")) for word in line.split()]
            if len(names) != 2 or any(name.suffix.lower() not in PICTURES for name in names):
                return
            if any(".." in name.parts for name in names):
                raise DataError(f"{path}: {line.strip()}: is outside {root}; fix the list")
            rainy, clean = names
            yield Match(split, clean_name(rainy.stem), clean_name(f"{split}-{clean.parent.name}"), root / rainy, root / clean)


def _pictures(root: Path) -> Iterator[Path]:
    """Yield every picture below ``root``, sorted, without hidden files and without the extra files of macOS archives."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        yield from (
            Path(folder, name) for name in sorted(names) if not name.startswith(".") and Path(name).suffix.lower() in PICTURES
        )
