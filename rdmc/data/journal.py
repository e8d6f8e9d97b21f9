"""A journal of finished pieces of work: what was killed goes on where it stopped.

Each line is the result of one piece, as JSON. A line is written when its piece is finished. A journal's name, or that of its
folder, is a digest of everything that the results depend on, the code included (``digest_of``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import rdmc
from rdmc.files import files_digest, write_text


class PieceJournal:
    """The results of the pieces that are finished, by position. Use it as a context; ``add`` is for one process alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = _read(self.path)
        """What is known: position of the piece -> its result."""
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def add(self, index: int, result: Mapping[str, Any]) -> None:
        """Write the result of one piece. It is on its way to the disk when this returns."""
        if self._file is None:  # without the half of a line that a killed process may have left
            write_text(self.path, "".join(_line(at, row) for at, row in self.rows.items()))
            self._file = self.path.open("a")
        self.rows[index] = dict(result)
        self._file.write(_line(index, result))
        self._file.flush()

    def remove(self) -> None:
        """Delete the journal: its results are written elsewhere."""
        self.__exit__(None, None, None)
        self.path.unlink(missing_ok=True)


def digest_of(depends: object) -> str:
    """Return a digest (32 hex digits) of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]


@cache
def library_digest(*names: str) -> str:
    """Return the SHA-256 (hex) of modules of ``rdmc``: files and folders, by their path in the package."""
    root = Path(rdmc.__file__).parent
    return files_digest(root, [path for name in names for path in sorted((root / name).rglob("*.py")) or [root / name]])


def _line(index: int, result: Mapping[str, Any]) -> str:
    return json.dumps([index, result]) + "\n"


def _read(path: Path) -> dict[int, dict[str, Any]]:
    """The results in a file, up to the first line that is not whole; empty if there is no file."""
    rows: dict[int, dict[str, Any]] = {}
    try:
        lines = path.read_text().splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        return rows
    for line in lines:
        try:
            index, result = json.loads(line)
            if line.endswith("\n"):
                rows[int(index)] = dict(result)
        except (ValueError, TypeError):
            break
    return rows
