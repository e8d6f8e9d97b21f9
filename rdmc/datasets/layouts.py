"""Detect the layout of the pairs in a folder from the names of its files and folders.

- ``folder``: rainy and clean pictures in separate folders, or in one, distinguished by name (``rain-1``, ``norain-1``)
- ``one-clean-many-rainy``: the same, with several rainy pictures for each clean one
- ``side-by-side``: every file holds both halves
- ``list``: a text file names a rainy and a clean file per line
- ``unpaired``: pictures without a partner

The names of folders give the split too, by whole words (``train``, ``test``, ``RainTrainH``, ``train_set`` …); the folder
nearest to the picture wins. Pictures are matched only within a group of sibling folders, so ``Test100/input/1.png`` is never
paired with ``Rain100H/target/1.png``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from rdmc.data.images import read_rgb
from rdmc.data.pairs import SPLITS, Fault, clean_name, scene_name
from rdmc.datasets.checks import leaning
from rdmc.datasets.lists import read_lists
from rdmc.datasets.matching import Match, distinct, match_files, match_halves, no_match
from rdmc.datasets.names import file_role, folder_role, plain_role, split_of
from rdmc.errors import DataError
from rdmc.files import PICTURES, pictures

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
    notes: Sequence[str] = ()
    """What a user should know about the files beside the faults, one line each."""

    def counts(self) -> dict[str, int]:
        """Return the number of pairs of each split that has any."""
        found = {split: sum(match.split == split for match in self.matches) for split in SPLITS}
        return {split: count for split, count in found.items() if count}

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.counts().items())
        return self.layout + (f", {self.left} on the left" if self.left else "") + f": {counts or 'no'} pairs"


def find_pairs(root: Path, hints: Hints) -> Found:
    """Return the pairs below ``root``.

    Raises DataError if there are no pictures, if their split is unclear, if a list cannot be understood, or if no rainy picture
    matches a clean one.
    """
    files = pictures(root)
    if not files:
        raise DataError(f"{root}: holds no pictures ({' '.join(sorted(PICTURES))}); name the folder of an unpacked copy")
    lists = read_lists(root)
    if lists:
        found = [_listed(root, path, hints, pair) for path, pairs in lists.items() for pair in pairs]
        return Found("list", distinct(found), notes=_unlisted(root, files, found))
    notes = _two_splits(root, files)
    for names_only in (False, True):
        places = [_place(root, path, hints, names_only) for path in files]
        if {"rainy", "clean"} <= {place.role for place in places}:
            return replace(_from_places(root, places), notes=[*notes, *_layers(root, places)])
    sides = [side for path in files[:: max(len(files) // SAMPLED, 1)] if (side := clean_side(path)) is not None]
    if 2 * len(sides) > min(len(files), SAMPLED):
        left = hints.left or ("clean" if sum(sides) > 0 else "rainy")
        return replace(_from_halves(places, left), notes=notes)
    return Found("unpaired", [], notes=notes)


def _unlisted(root: Path, files: Sequence[Path], matches: Sequence[Match]) -> list[str]:
    named = {path for match in matches for path in (match.rainy, match.clean)}
    rest = [path for path in files if path not in named]
    return [f"{root}: {len(rest)} pictures are in no list and not used (first: {rest[0].relative_to(root)})"] if rest else []


def _layers(root: Path, places: Sequence[_Place]) -> list[str]:
    rest = [place.path.relative_to(root) for place in places if place.role == "layer"]
    return [f"{root}: {len(rest)} pictures show the rain alone and are not used (first: {rest[0]})"] if rest else []


def _two_splits(root: Path, files: Sequence[Path]) -> list[str]:
    """Return a line for each two folders above a picture that name different splits."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for folder, count in Counter(path.parent.relative_to(root).parts for path in files).items():
        named = [name for name in reversed(folder) if split_of(name)]
        for outer in named[1:]:
            if split_of(outer) != split_of(named[0]):
                found[named[0], outer] += count
    return [
        f"{root}: {count} pictures are below {outer} ({split_of(outer)}) and {inner} ({split_of(inner)}); the nearer one counts"
        for (inner, outer), count in found.items()
    ]


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


def _place(root: Path, path: Path, hints: Hints, names_only: bool) -> _Place:
    """Return a picture's place. ``names_only``: the folders do not give the role."""
    relative = PurePosixPath(path.relative_to(root).as_posix())
    nearest = relative.parts[-2::-1]
    split = _split(nearest) or _by_number(path.stem, hints) or _split([root.name]) or hints.split
    if not split:
        raise DataError(f"{path}: no folder name gives the split; set `split: train` or `split: test` for this dataset")
    folders = [] if names_only else list(relative.parents)
    for folder in folders:
        if role := "rainy" if folder.name.lower() in hints.rainy else plain_role(folder.name):
            while plain_role(folder.parent.name) == role:  # input/rain beside target
                folder = folder.parent
            return _Place(path, role, split, _one_form(folder.parent))
    role = file_role(path.stem)
    for folder in folders:
        if (weak := "rainy" if folder.name.lower() == "data" else folder_role(folder.name)) and role in ("", weak):
            return _Place(path, weak, split, _one_form(folder.parent))
    return _Place(path, role, split, _one_form(relative.parent))


def _one_form(folder: PurePosixPath) -> PurePosixPath:
    """Return a folder in one Unicode form: a copy by way of a Mac may have each side in another."""
    return PurePosixPath(unicodedata.normalize("NFC", str(folder)))


def _split(folders: Iterable[str]) -> str:
    return next((split for name in folders if (split := split_of(name))), "")


def _by_number(stem: str, hints: Hints) -> str:
    number = re.match(r"\d+", stem)
    return ("test" if int(number[0]) >= hints.tests_from else "train") if number and hints.tests_from else ""


def _from_places(root: Path, places: Iterable[_Place]) -> Found:
    groups: dict[tuple[str, PurePosixPath], list[_Place]] = defaultdict(list)
    matches: list[Match] = []
    faults: list[Fault] = []
    for place in places:
        if place.role in ("rainy", "clean"):
            groups[place.split, place.group].append(place)
        elif not place.role:
            reason = "neither rainy nor clean by its name or folder; give it or its folder a name that says so, or move it away"
            faults.append(Fault(str(place.path), reason, "unmatched"))
    groups_of = Counter(split for split, _ in groups)
    halves: dict[str, list[Path]] = {"rainy": [], "clean": []}
    for (split, group), members in groups.items():
        rainy, clean = ([place.path for place in members if place.role == role] for role in halves)
        halves["rainy"] += rainy
        halves["clean"] += clean
        within = group if groups_of[split] > 1 else None
        found, alone = match_files(split, rainy, clean, str(within) if within else "")
        matches += [_inside(match, within) for match in found] if within else found
        faults += alone
    if not matches:
        raise no_match(str(root), halves["rainy"], halves["clean"])
    many = len({match.clean for match in matches}) < len(matches)
    return Found("one-clean-many-rainy" if many else "folder", distinct(matches), faults)


def _from_halves(places: Sequence[_Place], left: str) -> Found:
    groups: dict[tuple[str, PurePosixPath], list[Path]] = defaultdict(list)
    for place in places:
        groups[place.split, place.group].append(place.path)
    groups_of = Counter(split for split, _ in groups)
    matches: list[Match] = []
    for (split, group), files in groups.items():
        within = group if groups_of[split] > 1 else None
        found = match_halves(split, files, left, str(within) if within else "")
        matches += [_inside(match, within) for match in found] if within else found
    return Found("side-by-side", distinct(matches), left=left)


def _inside(match: Match, group: PurePosixPath) -> Match:
    """Return the match with its group's name before its own, because other groups of the split count from 1 as well."""
    word = clean_name(group.name)
    return match if match.name.startswith(word) else replace(match, name=clean_name(f"{word}-{match.name}"))


def _listed(root: Path, path: Path, hints: Hints, pair: tuple[Path, Path]) -> Match:
    """Return the match of a line in a list. Its scene is the folder of the clean picture, as in SPA-Data, or the picture."""
    rainy, clean = pair
    split = split_of(path.stem) or hints.split or "train"
    relative = PurePosixPath(clean.relative_to(root).as_posix())
    folder = relative.parent.name
    is_scene = len(relative.parts) > 2 and not folder_role(folder) and not split_of(folder)
    identity = relative.parent if is_scene else relative.with_suffix("")
    return Match(split, clean_name(rainy.stem), scene_name(split, str(identity)), rainy, clean)
