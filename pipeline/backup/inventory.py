"""The list of a backup's files with their digests. A backup without it is not complete; one that differs from it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.console import track
from rdmc.errors import DataError
from rdmc.files import file_digest, write_text

NAME = "inventory.json"


def write(folder: Path) -> dict[str, str]:
    """Write the inventory of a folder's files and return it: SHA-256 by path. It is written last, so it means "complete"."""
    found = _digests(folder)
    write_text(folder / NAME, json.dumps(found, indent=1, sort_keys=True) + "\n")
    return found


def verify(folder: Path) -> None:
    """Raise DataError, which names the first file, if the folder is not what its inventory says."""
    try:
        listed = json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
        raise DataError(f"{folder / NAME}: cannot be read, so this is no complete backup; name another one") from None
    found = _digests(folder)
    for name in sorted({*listed, *found}):
        if listed.get(name) != found.get(name):
            what = "is missing" if name not in found else "is not listed" if name not in listed else "has other bytes"
            raise DataError(f"{folder / name}: {what}; the backup is damaged, name another one")


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    names = [path.relative_to(folder).as_posix() for path in files]
    return {names[index]: file_digest(files[index]) for index in track(range(len(files)), "digest")}
