"""Find, digest and write files. What is written gets a temporary name first, then is renamed: it appears whole or not at all.

Temporary names begin with a dot. A killed process leaves them behind; .dvcignore hides them from DVC.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rdmc.errors import ConfigError, DataError

SUFFIX = re.compile(r"(?<=\.)[A-Za-z0-9]+$")
PICTURES = frozenset(
    [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".ppm", ".pgm", ".pnm", ".tif", ".tiff", ".webp", ".gif"]
)
"""Suffixes of picture files, in lower case."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``. It replaces ``target`` if the block succeeds and is removed if not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        take_place(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def take_place(folder: Path, target: Path) -> None:
    """Rename a folder to ``target``, beside it. An older ``target`` is removed afterwards, or stays if that fails."""
    folder.chmod(0o755)
    old = folder.with_name(folder.name + ".old")
    if target.exists():
        target.rename(old)
    try:
        folder.rename(target)
    finally:  # where that failed, or the command was stopped before it, the old one goes back
        if old.exists() and not target.exists():
            old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never a partial one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # containers on one disk may have equal process numbers
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8, as ``write_bytes`` does."""
    write_bytes(path, text.encode())


def check_writable(path: Path | None) -> None:
    """Raise ConfigError unless a file can be written there, before hours of work end in it. None is no file to write."""
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise ConfigError(f"{path}: nothing can be written in {above} ({error.strerror}); name a file elsewhere") from None


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest (hex) of a file of any size. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def files_digest(root: Path, paths: Iterable[Path]) -> str:
    """Return the SHA-256 (hex) of files in order, and of their paths below ``root``. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def globbed(pattern: str, any_case: bool = False) -> list[Path]:
    """Return the files that match a glob, sorted. ``**`` matches folders; hidden files match only if the pattern names them.

    With ``any_case``, the letters after the last dot match in upper and lower case: ``*.jpg`` finds ``1.JPG``. ``**`` follows
    links to folders. Raises DataError for a link that leads back to a folder above it.
    """
    if any_case:
        pattern = SUFFIX.sub(
            lambda found: "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in found[0]), pattern
        )
    if "**" in pattern:
        for start in _matches(pattern[: pattern.index("**")] or "."):
            _refuse_loops(start, ())
    return [path for path in _matches(pattern) if not path.is_dir()]


def _matches(pattern: str) -> list[Path]:
    """Return the files and folders that match a glob, sorted."""
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207  Path.glob refuses absolute patterns and matches hidden files
    return [Path(name) for name in sorted(names)]


def _refuse_loops(folder: Path, above: tuple[tuple[int, int], ...]) -> None:
    """Raise DataError if a link leads back to a folder above it. With two of them, glob would find 2 to the 40th paths.

    ``above`` is as in ``_files``. Folders that cannot be read are left out, as glob does.
    """
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            folders = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return
    here = status.st_dev, status.st_ino
    if here in above:
        raise _loop(folder)
    for name in folders:
        _refuse_loops(folder / name, (*above, here))


def _loop(link: Path) -> DataError:
    return DataError(f"{link}: a link to a folder above it, the rule is no loops; remove the link")


def walk(folder: Path) -> list[Path]:
    """Return the files below ``folder``, sorted by folder and name, without hidden ones and without ``__MACOSX``.

    Links to folders are followed. Raises DataError for a link that leads back to a folder above it.
    """
    return list(_files(folder, ()))


def _files(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Yield the files below a folder. ``above`` has the device and inode of each folder on the way to it."""
    status = folder.stat()
    here = status.st_dev, status.st_ino
    if here in above:
        raise _loop(folder)
    with os.scandir(folder) as entries:
        shown = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
        folders = [entry.name for entry in shown if entry.is_dir() and entry.name != "__MACOSX"]
        yield from (folder / entry.name for entry in shown if not entry.is_dir())
    for name in folders:
        yield from _files(folder / name, (*above, here))


def pictures(folder: Path) -> list[Path]:
    """Return the files of ``walk`` with a suffix of ``PICTURES``, in any case.

    Raises DataError for a broken link without such a suffix: it may stand for a folder of pictures.
    """
    found = []
    for path in walk(folder):
        if path.suffix.lower() in PICTURES:
            found.append(path)
        elif path.is_symlink() and not path.exists():
            raise DataError(f"{path}: a broken link, perhaps to a folder; restore {path.readlink()} or remove the link")
    return found
