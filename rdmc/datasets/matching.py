"""Match rainy and clean images by file name, and read pairs, also those that share one file.

Names are compared in nine ways. The way that matches the most pairs, the first of equal ones, is used for all of them:

1. the whole name: ``rain/12.png`` and ``clean/12.png``
2. without a leading word: ``rain-002`` and ``norain-002``
3. without anything before the first digit: ``rain_img_5`` and ``img_5``
4. to 6. the same as 1. to 3., with a final number on the rainy name only: ``901_1`` to ``901_14`` and ``901``
7. without the words that state the role: ``5_rain`` and ``5_clean``, ``pie-rd-rain-5`` and ``pie-norain-5``
8. and 9. the same as 7., with a final number on the rainy name only, or on both: ``X-R-007`` and ``X-C-000``

In each way one clean image may have several rainy ones.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rdmc.data.images import Picture, as_png, read_picture
from rdmc.data.pairs import Fault, check_sizes, clean_name, write_pair
from rdmc.datasets.checks import Made, examine, pixel_digest
from rdmc.errors import DataError
from rdmc.files import globbed

Key = Callable[[str], str]


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

    def read(self) -> tuple[Picture, Picture]:
        """Return the rainy and the clean picture. Raises DataError if one cannot be read or cut."""
        if not self.left:
            return read_picture(self.rainy), read_picture(self.clean)
        pixels = read_picture(self.rainy).pixels
        if pixels.shape[1] % 2:
            raise DataError(f"{self.rainy}: {pixels.shape[1]} pixels wide, two halves need an even width; crop or remove it")
        halves = [as_png(half) for half in (pixels[:, : pixels.shape[1] // 2], pixels[:, pixels.shape[1] // 2 :])]
        clean, rainy = halves if self.left == "clean" else halves[::-1]
        return rainy, clean

    def make(self, folder: Path, judge_sides: bool = True) -> Made:
        """Read and check the pair and write it below ``folder``. A pair that cannot be used gives a fault that names the file.

        Without ``judge_sides`` a pair that looks exchanged is kept, with a warning.
        """
        try:
            rainy, clean = self.read()
        except DataError as error:
            return Made(fault=self._fault(error, "unreadable"), split=self.split)
        try:
            check_sizes(rainy, clean)
        except DataError as error:
            return Made(fault=self._fault(error, "size"), split=self.split)
        found, digest = examine(rainy.pixels, clean.pixels), pixel_digest(rainy.pixels)
        strange = Fault(str(self.rainy), found.reason, found.kind) if found.kind else None
        if strange and found.certain and (judge_sides or found.kind != "swapped"):
            return Made(fault=strange, split=self.split, psnr_y=found.psnr_y, digest=digest)
        entry = write_pair(folder, self.split, self.name, self.scene, rainy, clean)
        return Made(entry, warning=strange, split=self.split, psnr_y=found.psnr_y, digest=digest)

    def _fault(self, error: DataError, kind: str) -> Fault:
        """Return a fault that names the file with the error."""
        file = self.clean if str(error).startswith(f"{self.clean}: ") else self.rainy
        return Fault(str(file), str(error).removeprefix(f"{file}: "), kind)


def find(pattern: str) -> list[Path]:
    """Return the paths that match a glob, sorted; ``**`` matches folders. Raises DataError if there are none."""
    found = globbed(pattern)
    if not found:
        raise DataError(f"{pattern}: matches no file, a dataset needs at least one; correct the glob in params.yaml")
    return found


def match_files(split: str, rainy: Sequence[Path], clean: Sequence[Path]) -> tuple[list[Match], list[Fault]]:
    """Match files by name. Files without a partner, and clean files that share a name, become faults.

    Raises DataError if a file is in both lists.
    """
    if both := sorted(set(rainy) & set(clean)):
        raise DataError(f"{both[0]}: matches the globs of rainy and of clean images; narrow one of them in params.yaml")
    found = [_match(split, rainy, clean, *way) for way in WAYS]
    matches, faults = max(found, key=lambda result: len(result[0]))  # max takes the first of equal ones
    return distinct(matches), faults


def match_halves(split: str, files: Sequence[Path], left: str) -> list[Match]:
    """Return one pair per file, with the clean or the rainy half on the ``left``."""
    return distinct([Match(split, clean_name(path.stem), _scene(split, path.stem), path, path, left) for path in files])


def _scene(split: str, key: str) -> str:
    """Return a scene's name with its split. Names often start at 1 in every split: train/1.jpg and test/1.jpg differ."""
    return f"{split}-{clean_name(key)}"


def _whole(stem: str) -> str:
    return stem


def _without_word(stem: str) -> str:
    return re.sub(r"^[A-Za-z]+(?:[-_. ]+|(?=\d))", "", stem) or stem


def _from_digit(stem: str) -> str:
    return re.sub(r"^\D+(?=\d)", "", stem)


def _without_number(stem: str) -> str:
    return re.sub(r"(?<=.)[-_. ]\d+$", "", stem)


def _without_role(stem: str) -> str:
    parts = [part for part in re.split(r"[-_. ]+", stem) if part.lower() not in ROLES]
    return "-".join(parts) or stem


def _many(key: Key) -> Key:
    return lambda stem: _without_number(key(stem))


ROLES = frozenset(["rain", "rainy", "norain", "clean", "gt", "rd", "input", "target", "r", "c"])
"""Words of a name that state whether a picture is the rainy or the clean one."""
ONE: tuple[Key, ...] = (_whole, _without_word, _from_digit)
WAYS: tuple[tuple[Key, Key], ...] = (
    *((key, key) for key in ONE),
    *((_many(key), key) for key in ONE),
    (_without_role, _without_role),
    (_many(_without_role), _without_role),
    (_many(_without_role), _many(_without_role)),
)
"""The nine ways: functions of the rainy and of the clean name whose results must be equal."""


def _match(
    split: str, rainy: Iterable[Path], clean: Iterable[Path], rainy_key: Key, clean_key: Key
) -> tuple[list[Match], list[Fault]]:
    cleans: dict[str, list[Path]] = defaultdict(list)
    for path in clean:
        cleans[clean_key(path.stem)].append(path)
    matches, faults, used = [], [], set()
    for path in rainy:
        key = rainy_key(path.stem)
        found = cleans.get(key, [])
        used.add(key)
        if len(found) == 1:
            matches.append(Match(split, clean_name(path.stem), _scene(split, key), path, found[0]))
        elif found:
            faults.append(Fault(str(path), f"has two clean images, {found[0]} and {found[1]}; remove one of them", "unmatched"))
        else:
            faults.append(Fault(str(path), f"has no clean image (named {key}); add it or remove the rainy one", "unmatched"))
    alone = [path for key, paths in cleans.items() if key not in used for path in paths]
    return matches, faults + [
        Fault(str(path), "has no rainy image; add it or remove the clean one", "unmatched") for path in alone
    ]


def distinct(matches: Sequence[Match]) -> list[Match]:
    """Add a number to repeated names, in the order of the files."""
    taken: set[str] = set()
    found = []
    for match in matches:
        name, number = match.name, 2
        while name in taken:
            name, number = f"{match.name}-{number}", number + 1
        taken.add(name)
        found.append(replace(match, name=name))
    return found
