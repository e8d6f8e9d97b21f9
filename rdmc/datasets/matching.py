"""Match rainy and clean images by name, and read pairs, also those that share one file.

Names are compared in ten ways (``WAYS``). The first way that matches nearly as many pairs as the best one is used for all of
them: a looser way that adds one pair in twenty is more likely to be wrong about it. Each of the first five requires equal
names, and the next four that the rainy name begins with the clean one, so that one clean image has many rainy ones:

1. as they are: ``rain/12.png`` and ``clean/12.png``
2. as words and numbers: ``im-1`` and ``IM_001``
3. without the roles at either end: ``rain-1`` and ``norain-001``, ``001_in`` and ``001_GT``
4. also without the words that all names of one side share: ``rain_img_5`` and ``photo_5``
5. without roles at any place: ``pie-rd-rain-5`` and ``pie-norain-5``
6. to 9. begins with, after 2. to 5.: ``901_14`` and ``901``, ``im_1_s80_a04`` and ``im_1``, ``norain-1x2`` and ``norain-1``
10. frames of a video: ``X-R-007`` and ``X-C-000``

Folders count too: names of folders that occur on both sides, apart from roles, must agree. Where each side has others beside
them (``rain/b``, ``norain/c``), their pictures are no pairs. Only if nothing matches so, names alone decide.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rdmc.data.images import Picture, as_png, read_picture
from rdmc.data.pairs import Fault, check_sizes, clean_name, scene_name, write_pair
from rdmc.datasets import names
from rdmc.datasets.checks import Made, examine, pixel_digest
from rdmc.errors import DataError
from rdmc.files import file_digest, globbed, pictures

NEARLY = 0.9
"""A way is good enough if it matches this share of the pairs that the best one matches."""
SHOWN = 2
"""Names of each side in an error."""


@dataclass(frozen=True)
class Match:
    """A pair to read: two files, or one file with both halves side by side."""

    split: str
    name: str
    scene: str
    rainy: Path
    clean: Path
    left: str = ""
    """The left half, clean or rainy, if ``rainy`` and ``clean`` are the same file; empty if they are two files."""

    def source(self) -> str:
        """Return a digest of the files; one that cannot be read counts as missing."""
        found = []
        for path in dict.fromkeys((self.rainy, self.clean)):
            try:
                found.append(file_digest(path))
            except OSError:
                found.append("missing")
        return " ".join(found)

    def read(self, convert: bool = False) -> tuple[Picture, Picture]:
        """Return the rainy and the clean picture. Raises DataError if one cannot be read or cut.

        With ``convert`` they may be of another kind than 8-bit RGB. If one is, both have the bytes of a PNG.
        """
        if not self.left:
            sides = read_picture(self.rainy, convert), read_picture(self.clean, convert)
            lossless = any(side.was for side in sides)
            rainy, clean = (as_png(side.pixels) if lossless and side.extension != "png" else side for side in sides)
            return rainy, clean
        whole = read_picture(self.rainy, convert)
        pixels = whole.pixels
        if pixels.shape[1] % 2:
            raise DataError(f"{self.rainy}: {pixels.shape[1]} pixels wide, two halves need an even width; crop or remove it")
        halves = [
            replace(as_png(half), was=whole.was)
            for half in (pixels[:, : pixels.shape[1] // 2], pixels[:, pixels.shape[1] // 2 :])
        ]
        clean, rainy = halves if self.left == "clean" else halves[::-1]
        return rainy, clean

    def make(self, folder: Path, judge_sides: bool = True, convert: bool = False) -> Made:
        """Read and check the pair and write it below ``folder``. A pair that cannot be used gives a fault that names the file.

        Without ``judge_sides`` a pair that looks exchanged is kept, with a warning. With ``convert`` a picture that is not
        8-bit RGB is converted, and listed as such.
        """
        try:
            rainy, clean = self.read(convert)
        except DataError as error:
            return Made(fault=self._fault(error, "unreadable"), split=self.split)
        try:
            check_sizes(rainy, clean)
        except DataError as error:
            return Made(fault=self._fault(error, "size"), split=self.split)
        found, digest = examine(rainy.pixels, clean.pixels), pixel_digest(rainy.pixels)
        strange = Fault(str(self.rainy), found.reason.replace("{clean}", self.clean.name), found.kind) if found.kind else None
        if strange and found.certain and (judge_sides or found.kind != "swapped"):
            return Made(fault=strange, split=self.split, psnr_y=found.psnr_y, digest=digest)
        entry = write_pair(folder, self.split, self.name, self.scene, rainy, clean)
        was = {self.rainy: rainy.was, self.clean: clean.was}
        converted = [Fault(str(file), f"was {kind}", "converted") for file, kind in was.items() if kind]
        return Made(entry, None, strange, self.split, found.psnr_y, digest, converted)

    def _fault(self, error: DataError, kind: str) -> Fault:
        """Return a fault that names the file with the error."""
        file = self.clean if str(error).startswith(f"{self.clean}: ") else self.rainy
        return Fault(str(file), str(error).removeprefix(f"{file}: "), kind)


def find(pattern: str) -> list[Path]:
    """Return the paths that match a glob, with its suffix in any case, or the pictures below a folder; sorted.

    Raises DataError if there are none.
    """
    found = pictures(Path(pattern)) if Path(pattern).is_dir() else globbed(pattern, any_case=True)
    if not found:
        raise DataError(f"{pattern}: matches no file, a dataset needs at least one; correct the glob in params.yaml")
    return found


def match_files(split: str, rainy: Sequence[Path], clean: Sequence[Path], within: str = "") -> tuple[list[Match], list[Fault]]:
    """Match files by name. Files without a partner, and clean files that share a name, become faults.

    ``within`` is the part of the dataset that the files belong to. It distinguishes their scenes from those of other parts.
    Raises DataError if a file is in both lists.
    """
    if both := sorted(set(rainy) & set(clean)):
        raise DataError(f"{both[0]}: matches the globs of rainy and of clean images; narrow one of them in params.yaml")
    pairs = _best(rainy, clean, _folders(rainy, clean)) or _best(
        rainy, clean, dict.fromkeys((*rainy, *clean), _Folder((), False))
    )
    scenes = _identities(clean)
    matches, faults = [], []
    further: dict[Path, Path] = {}
    for path, found in zip(rainy, pairs or [[] for _ in rainy], strict=True):
        if len(found) == 1:
            scene = scene_name(split, f"{within}/{scenes[found[0]]}" if within else scenes[found[0]])
            matches.append(Match(split, clean_name(path.stem), scene, path, found[0]))
        elif found:
            faults.append(
                Fault(
                    str(path),
                    f"has two clean images, {found[0]} and {found[1]}; rename one, or narrow the globs",
                    "unmatched",
                )
            )
            further |= dict.fromkeys(found[2:], found[0])
        else:
            faults.append(Fault(str(path), "has no clean image of its name; add it, or make the names agree", "unmatched"))
    used = {path for found in pairs for path in found}
    faults += [
        Fault(str(path), f"has the name of another clean image, {first}; rename one, or narrow the globs", "unmatched")
        for path, first in further.items()
        if path not in {match.clean for match in matches}
    ]
    alone = [path for path in clean if path not in used]
    faults += [
        Fault(str(path), "has no rainy image of its name; add it, or make the names agree", "unmatched") for path in alone
    ]
    return distinct(matches), faults


def no_match(place: str, rainy: Sequence[Path], clean: Sequence[Path]) -> DataError:
    """Return the error for a place where no rainy picture has a clean one: examples of both sides, and what was tried."""
    sides = [", ".join(path.name for path in side[:SHOWN]) + (", …" if len(side) > SHOWN else "") for side in (rainy, clean)]
    return DataError(
        f"{place}: none of {len(rainy)} rainy pictures ({sides[0]}) matches one of {len(clean)} clean ones ({sides[1]}); tried "
        "equal names, numbers as numbers, names without rain, norain, in, gt, …, without what all names of a side share, and "
        "clean names with something added; rename one side so that the names agree (docs/data.md, How names are matched)"
    )


def match_halves(split: str, files: Sequence[Path], left: str, within: str = "") -> list[Match]:
    """Return one pair per file, with the clean or the rainy half on the ``left``. ``within`` is as in ``match_files``."""
    scenes = _identities(files)
    return distinct(
        [
            Match(
                split,
                clean_name(path.stem),
                scene_name(split, f"{within}/{scenes[path]}" if within else scenes[path]),
                path,
                path,
                left,
            )
            for path in files
        ]
    )


EQUAL: tuple[names.Keys, ...] = (names.as_words, names.without_ends, names.without_common, names.without_roles)
WAYS: tuple[tuple[names.Keys, bool], ...] = (
    (names.exact, False),
    *((keys, False) for keys in EQUAL),
    *((keys, True) for keys in EQUAL),
    (names.of_video, False),
)
"""The ten ways: what is compared, and whether the rainy name may continue after the clean one."""


def _best(rainy: Sequence[Path], clean: Sequence[Path], folders: Mapping[Path, _Folder]) -> list[list[Path]]:
    """Return the clean files of each rainy one, by the first way that is good enough; an empty list if nothing matches."""
    found = [_candidates(rainy, clean, folders, *way) for way in WAYS]
    counts = [sum(len(paths) == 1 for paths in candidates) for candidates in found]
    most = max(counts)
    if not most:
        return max(found, key=lambda candidates: sum(map(bool, candidates))) if any(map(any, found)) else []
    return next(candidates for candidates, count in zip(found, counts, strict=True) if count >= NEARLY * most)


def _candidates(
    rainy: Sequence[Path], clean: Sequence[Path], folders: Mapping[Path, _Folder], keys: names.Keys, begins: bool
) -> list[list[Path]]:
    """Return the clean files with the key of each rainy one; if it ``begins`` with several, those of the longest."""
    cleans: dict[tuple[names.Key, names.Key], list[Path]] = defaultdict(list)
    for path, key in zip(clean, keys([path.stem for path in clean]), strict=True):
        if key is not None:
            cleans[folders[path].key, key].append(path)
    found = [
        _longest(cleans, folders[path].key, key, begins) if key is not None else []
        for path, key in zip(rainy, keys([path.stem for path in rainy]), strict=True)
    ]
    return [
        [other for other in others if not (folders[path].own and folders[other].own)]
        for path, others in zip(rainy, found, strict=True)
    ]


def _longest(
    cleans: dict[tuple[names.Key, names.Key], list[Path]], folder: names.Key, key: names.Key, begins: bool
) -> list[Path]:
    for end in range(len(key), 0 if begins else len(key) - 1, -1):
        if (end == len(key) or key[end] != names.GLUE) and (found := cleans.get((folder, key[:end]))):
            return found
    return []


@dataclass(frozen=True)
class _Folder:
    """What counts of the folders above a file: the names that both sides have, as one key."""

    key: names.Key
    own: bool
    """Whether there are other names, which only some files of its side have."""


def _folders(rainy: Sequence[Path], clean: Sequence[Path]) -> dict[Path, _Folder]:
    """Return what counts of the folders above each file. Roles do not."""
    below: dict[Path, list[names.Key]] = {}
    for parent in {path.parent for path in (*rainy, *clean)}:
        below[parent] = [key for part in parent.parts if (key := names.of_folder(part))]
    sides = [[frozenset(below[parent]) for parent in {path.parent for path in side}] for side in (rainy, clean)]
    shared = frozenset().union(*sides[0]) & frozenset().union(*sides[1])
    found = {}
    for side, files in zip(sides, (rainy, clean), strict=True):
        ordinary = shared | frozenset.intersection(*side) if side else shared
        for path in files:
            keys_above = below[path.parent]
            key = tuple(str(key) for key in keys_above if key in shared)
            found[path] = _Folder(key, any(key not in ordinary for key in keys_above))
    return found


def _identities(files: Sequence[Path]) -> dict[Path, str]:
    """Return each file's path below the folder that all share, without its extension and in one Unicode form."""
    if not files:
        return {}
    base = os.path.commonpath([path.parent for path in files])
    return {
        path: unicodedata.normalize("NFC", Path(os.path.relpath(path.parent, base), path.stem).as_posix()) for path in files
    }


def distinct(matches: Sequence[Match]) -> list[Match]:
    """Add a number to repeated names, in the order of the files."""
    taken: set[str] = set()
    following: dict[str, int] = {}
    found = []
    for match in matches:
        name, number = match.name, following.get(match.name, 2)
        while name in taken:
            name, number = f"{match.name}-{number}", number + 1
        following[match.name] = number
        taken.add(name)
        found.append(replace(match, name=name))
    return found
