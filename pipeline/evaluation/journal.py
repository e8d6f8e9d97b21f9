"""A journal of finished images: a measurement that was killed goes on where it stopped.

Each line is the result of one image, as JSON. A line is written when its image is finished. A journal's name is a digest of
everything that the results depend on, so results of another model, of other images or of other code are never found in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import rdmc
from rdmc.files import write_text

CODE = ("inference.py", "metrics.py", "models", "quality")
"""The modules of ``rdmc`` that the figures of an image depend on."""


class ImageJournal:
    """The results of the images that are finished, by position. Use it as a context; ``add`` is for one process alone."""

    def __init__(self, folder: Path, *depends: str) -> None:
        name = hashlib.sha256(json.dumps([code_of_figures(), *depends]).encode()).hexdigest()[:32]
        self.path = folder / f"{name}.jsonl"
        self.rows = _read(self.path)
        """What is known: position of the image -> its result."""
        self._file: IO[str] | None = None

    def __enter__(self) -> ImageJournal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def add(self, index: int, result: Mapping[str, Any]) -> None:
        """Write the result of one image. It is on its way to the disk when this returns."""
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


@cache
def code_of_figures() -> str:
    """SHA-256 (hex) of the code of deraining and of the metrics."""
    root, digest = Path(rdmc.__file__).parent, hashlib.sha256()
    for name in CODE:
        for path in sorted((root / name).rglob("*.py")) or [root / name]:
            digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


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
