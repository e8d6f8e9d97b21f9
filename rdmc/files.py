"""Files found, digested, and written so that they appear whole or not at all: under a temporary name, then renamed.

Temporary names begin with a dot. A process that is killed leaves them; .dvcignore keeps them out of DVC's sight.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place when the block ends well, and vanishes when not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        old = folder.with_name(folder.name + ".old")
        if target.exists():
            target.rename(old)
        try:
            folder.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` of ``text`` in UTF-8."""
    write_bytes(path, text.encode())


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest (hex) of a file of any size. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def globbed(pattern: str) -> list[Path]:
    """The files that match a glob (``**`` goes into folders), sorted; hidden ones only where the pattern names them."""
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern, and hidden files
    return [path for path in map(Path, sorted(names)) if not path.is_dir()]
