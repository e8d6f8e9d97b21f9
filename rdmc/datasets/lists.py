"""Read lists of pairs: text files that name a rainy and a clean file per line.

Understood are blank lines, comments, a byte order mark, Windows and old Macintosh line ends, a line of column names, names with
spaces, commas, semicolons or tabs between the names, backslashes, quotes, and folders that hold one picture and stand
for it. A line of a list that is not understood is an error with file and line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from rdmc.datasets.names import folder_role, role_of, words
from rdmc.errors import DataError, one_line
from rdmc.files import PICTURES, pictures

SUFFIXES = {".txt", ".csv", ".tsv", ".lst", ".list"}
"""Suffixes of files that may be lists, in lower case."""
LONGEST = 4096
"""Most characters of a line in a list."""
LOOKED_AT = 1000
"""Lines after which a text without a pair is not a list."""
GAPS = (re.compile(r"\s*[\t,;|]\s*"), re.compile(r"[\s,;|]+"))
"""What stands between two names: first marks that rarely occur in names, then also spaces."""
COMMENT = re.compile(r"^\s*(#|;|%|//)")
TRAILING = re.compile(r"\s+#.*$")
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

Pair = tuple[Path, Path]


@dataclass(frozen=True)
class _Line:
    number: int
    text: str


def read_lists(root: Path) -> dict[Path, list[Pair]]:
    """Return the rainy and clean files of each list in the folder ``root``; empty if there is none.

    A text is a list if a line names two files that exist, or if most of its lines name two pictures. Raises DataError for a
    line of a list that is not understood, and for a file outside ``root``.
    """
    found = {}
    for path in sorted(root.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".") and _is_list(root, path):
            found[path] = list(_pairs(root, path))
    return {path: pairs for path, pairs in found.items() if pairs}


def _is_list(root: Path, path: Path) -> bool:
    count = named = 0
    for line in islice(_lines(path), LOOKED_AT):
        readings = _readings(line.text)
        if any(_exist(root, reading) for reading in readings) or _mentions(root, line.text):
            return True
        if COMMENT.match(line.text) or (not count and _columns(line.text)):
            continue
        count += 1
        named += bool(readings)
    return 2 * named > count


def _pairs(root: Path, path: Path) -> Iterator[Pair]:
    exchanged = False
    for place, line in enumerate(_lines(path)):
        columns = _columns(line.text) if place == 0 else ()
        readings = _readings(line.text) or _readings(TRAILING.sub("", line.text))
        existing = [reading for reading in readings if _exist(root, reading)]
        if columns:
            exchanged = columns[0] == "clean"
        elif COMMENT.match(line.text) and not existing:
            continue
        else:
            chosen = existing if len(readings) > 1 and existing else readings
            if len(chosen) != 1 or len(line.text) > LONGEST:
                what = "may be read in several ways" if chosen else "does not name two pictures"
                raise DataError(f"{path}: line {line.number}: {one_line(line.text)[:80]!r} {what}; fix or remove that line")
            first, second = chosen[0]
            turned = exchanged or (_role(first), _role(second)) == ("clean", "rainy")
            pair = (second, first) if turned else (first, second)
            rainy, clean = (_file(root, path, line, name) for name in pair)
            yield rainy, clean


def _readings(text: str) -> list[tuple[PurePosixPath, PurePosixPath]]:
    """Return the ways to read a line as two names of pictures: with marks between them, or else with spaces."""
    text = text.strip().replace("\\", "/")
    for gap in GAPS:
        cuts = [(text[: found.start()], text[found.end() :]) for found in gap.finditer(text)]
        named = [tuple(PurePosixPath(part.strip().strip("\"'").lstrip("/")) for part in cut) for cut in cuts]
        if fitting := [(one, other) for one, other in named if _is_picture(one) and _is_picture(other)]:
            return fitting
    return []


def _is_picture(name: PurePosixPath) -> bool:
    return name.suffix.lower() in PICTURES and bool(name.name)


def _exist(root: Path, names: Sequence[PurePosixPath]) -> bool:
    return all(".." not in name.parts and (root / name).exists() for name in names)


def _mentions(root: Path, text: str) -> bool:
    """Return whether a line names two pictures that exist, among other words."""
    names = [PurePosixPath(part.strip("\"'").lstrip("/")) for part in GAPS[1].split(text.strip().replace("\\", "/"))]
    return sum(_is_picture(name) and _exist(root, [name]) for name in names) > 1


def _columns(text: str) -> tuple[str, ...]:
    """Return the roles that a line of column names gives, such as ``rainy,clean``; empty if it is no such line."""
    names = [set(words(part)) - {"+", "path", "file", "image", "name"} for part in GAPS[1].split(text.strip())]
    roles = tuple(role_of(name) for name in names)
    return roles if sorted(roles) == ["clean", "rainy"] else ()


def _role(name: PurePosixPath) -> str:
    return next((role for part in reversed(name.parts[:-1]) if (role := folder_role(part))), "")


def _file(root: Path, path: Path, line: _Line, name: PurePosixPath) -> Path:
    """Return the file that a line names. A folder that is named like a picture stands for the one picture in it."""
    where = f"{path}: line {line.number}: {name}"
    if ".." in name.parts or ":" in name.parts[0]:
        raise DataError(f"{where} is outside {root}; fix the list")
    found = root / name
    if found.is_dir():
        inside = pictures(found)
        if len(inside) != 1:
            raise DataError(
                f"{where} is a folder of {len(inside)} pictures, the rule is a file, or a folder of one; fix the list"
            )
        return inside[0]
    return found


def _lines(path: Path) -> Iterator[_Line]:
    """Yield the lines that are not blank, with numbers from 1. Bytes that are not text are replaced."""
    with path.open("rb") as file:
        coding = MARKS.get(file.read(2), "utf-8-sig")
    with path.open(encoding=coding, errors="replace") as file:  # newline=None: \r\n and \r end lines too
        number, open_line = 0, False
        while text := file.readline(LONGEST + 1):
            number += not open_line
            open_line = not text.endswith("\n") and len(text) > LONGEST
            if text.strip():
                yield _Line(number, text.rstrip("\n").lstrip("\ufeff"))
