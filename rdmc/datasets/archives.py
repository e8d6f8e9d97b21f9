"""Unpack untrusted archives: only plain files and folders, only below the target, only up to a limit.

A zip whose names have backslashes and no slash was written on Windows: they are its separators. A Mac's AppleDouble files are
left out. Refused are: names that are absolute, climb out (``..``) or contain other backslashes, drive letters or control
characters; links, devices, encrypted and sparse members; a name twice, or twice on a file system that ignores case; a file in
the place of a folder; more members, more bytes, or more bytes per byte of the archive than ``ArchiveLimits``. Every file gets
mode 0644, whatever the archive says. Members are limited by their actual content, not by the sizes that they announce.

An archive in the archive is unpacked beside it by the same rules, within the same limits, and then removed. One that breaks a
rule, or is inside such an archive, is left packed and named.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import IO, BinaryIO, cast

from rdmc.errors import DataError, one_line
from rdmc.files import new_folder, walk

CHUNK = 1 << 20
LARGEST_HEADER = 1 << 22
"""Bytes of headers that a tar may request at once: its long names and attributes are read into memory."""
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError),
    *(LookupError, ArithmeticError, TypeError, AttributeError, AssertionError, MemoryError),  # they do not check the bytes
)
"""The exceptions that the standard library's readers raise for damaged archives."""
HOST = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
"""Errors of this machine's disk, which the archive did not cause."""


PART = re.compile(r"\.(\d{2,3}|[a-z]{2}|part[a-z0-9]+|(?P<zip>z\d\d))$", re.IGNORECASE)
"""The last suffix of a part: real_world.zip.001, whole.tar.gz.aa, data.z01."""
TARS = {".gz", ".xz"}
"""Suffixes of whole archives that ``PART`` would take for a part."""
INNER = re.compile(r"(?<=.)\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
"""The suffix of an archive that is unpacked inside another one."""
OTHER = re.compile(r"\.(7z|rar|z\d\d|(zip|tar|7z|rar|tgz|tar\.(gz|bz2|xz))\.(\d{2,3}|[a-z]{2}))$", re.IGNORECASE)
"""The suffix of an archive that is not: of another format, or a part of a split one."""
HERE = {".", "./"}
"""Names of the archive's own root, with which many tars begin."""


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may contain. The defaults are large enough for the largest rain dataset."""

    total: int = 200_000_000_000
    """Most bytes in all."""
    ratio: float = 100.0
    """Most bytes for each byte of the archive. Pictures hardly compress; lists of names compress about twentyfold."""
    free: int = 50_000_000
    """Bytes up to which the ratio is not checked."""
    members: int = 3_000_000
    """Most files and folders."""


@dataclass
class _Budget:
    """How much may still be unpacked, and, for errors, how much might be at first."""

    bytes: int
    members: int
    all_bytes: int
    all_members: int


@dataclass(frozen=True)
class Member:
    """A file of an archive, or a folder if ``content`` is None."""

    name: str
    content: IO[bytes] | None
    refused: str = ""
    """The reason why it must not be unpacked; empty if there is none."""


def unpack(
    archive: Path, target: Path, limits: ArchiveLimits | None = None, tell: Callable[[str], None] = lambda line: None
) -> int:
    """Unpack a zip or tar (plain, gz, bz2, xz) into ``target`` and return the number of files.

    ``target`` appears complete or not at all. ``tell`` gets a line about each archive in the archive. Raises DataError for a
    file that is not an archive, is damaged, or breaks a rule of this module.
    """
    with new_folder(target) as folder:
        limits = limits or ArchiveLimits()
        bound = min(limits.total, max(limits.free, int(limits.ratio * archive.stat().st_size)))
        budget = _Budget(bound, limits.members, bound, limits.members)
        return _unpack_into(archive, folder, budget) + _unpack_inner(archive, folder, budget, tell)


def _unpack_into(archive: Path, folder: Path, budget: _Budget) -> int:
    """Unpack one archive and return the number of files."""
    try:
        with archive.open("rb") as file:
            return _write(archive, file, folder, budget)
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno in HOST:
            raise
        if archive.suffix not in TARS and (part := PART.search(archive.name)):
            raise _is_part(archive, part) from None
        raise DataError(f"{archive}: damaged archive ({one_line(error)}); fetch it again") from None


def _unpack_inner(archive: Path, folder: Path, budget: _Budget, tell: Callable[[str], None]) -> int:
    """Unpack the archives in a folder, each into a folder of its name, and return by how much the number of files grows."""
    more = 0
    left: dict[Path, str] = {}
    for path in [path for path in walk(folder) if INNER.search(path.name)]:
        place = path.with_name(INNER.sub("", path.name))
        try:
            if any(other.name.casefold() == place.name.casefold() for other in path.parent.iterdir()):
                raise DataError(f"there is a {place.name} beside it")
            with new_folder(place) as inside:
                count = _unpack_into(path, inside, budget)
        except DataError as error:
            left[path] = str(error).removeprefix(f"{path}: ")
            continue
        path.unlink()
        more += count - 1
        tell(f"{archive}: {path.relative_to(folder)} in it is an archive too, unpacked ({count:,} files)")
    for path in walk(folder):
        if INNER.search(path.name) or OTHER.search(path.name):
            why = left.get(path, "only zip and tar in the archive itself are unpacked")
            tell(
                f"{archive}: {path.relative_to(folder)} in it is left packed ({why}); unpack it yourself, then fetch the folder"
            )
    return more


def _is_part(archive: Path, part: re.Match[str]) -> DataError:
    whole = str(archive.parent / archive.name[: part.start()])
    zipped = f"`zip -s 0 {quote(f'{whole}.zip')} --out {quote(f'{whole}.joined.zip')}`"
    how = zipped if part["zip"] else f"`cat {quote(whole)}.* > {quote(whole)}`"
    return DataError(
        f"{archive}: a part of a split archive, the rule is a whole one; join the parts with {how}, then fetch that"
    )


def safe_name(name: str) -> PurePosixPath:
    """Return ``name`` as a relative path. Raises DataError unless it is safe on every system."""
    path = PurePosixPath(name)
    if not name or not path.parts or name.startswith("/"):
        raise DataError(f"{name!r}: an absolute or empty name, the rule is a path below the archive; get another copy")
    if "\\" in name or ":" in path.parts[0] or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise DataError(f"{name!r}: a name with backslash, drive or control characters; get another copy")
    if ".." in path.parts or any(len(part.encode()) > 255 for part in path.parts) or len(name.encode()) > 1024:
        raise DataError(f"{name[:80]!r}: a name that climbs out or is too long; get another copy")
    return path


def _write(archive: Path, file: BinaryIO, folder: Path, budget: _Budget) -> int:
    taken: dict[str, bool] = {}  # case-folded name -> whether it is a folder
    files = 0
    for member in _members(archive, file, budget.bytes):
        budget.members -= 1
        if budget.members < 0:
            raise DataError(f"{archive}: more than {budget.all_members:,} members, a bomb; get another copy")
        if member.refused:
            raise DataError(f"{archive}: {member.name!r} is {member.refused}, the rule is files and folders; get another copy")
        if member.content is None and member.name in HERE:
            continue
        path = _checked(archive, member.name)
        if path.name.startswith("._") or path.parts[0] == "__MACOSX":  # AppleDouble: a Mac's notes about each file
            continue
        _take(archive, path, member.content is None, taken)
        if member.content is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
            continue
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        files += 1
        with (folder / path).open("xb") as out:
            while chunk := member.content.read(CHUNK):
                budget.bytes -= len(chunk)
                if budget.bytes < 0:
                    raise DataError(f"{archive}: gives more than {budget.all_bytes:,} bytes, a bomb; get another copy")
                out.write(chunk)
    if not files:
        raise DataError(f"{archive}: holds no files; fetch it again")
    return files


def _checked(archive: Path, name: str) -> PurePosixPath:
    try:
        return safe_name(name)
    except DataError as error:
        raise DataError(f"{archive}: {error}") from None


def _take(archive: Path, path: PurePosixPath, is_folder: bool, taken: dict[str, bool]) -> None:
    """Reserve a name and the folders above it. Raises DataError if they are taken."""
    for parent in [*reversed(path.parents)][1:]:
        if not taken.setdefault(_folded(parent), True):
            raise DataError(f"{archive}: {path} lies below a file; get another copy")
    if taken.get(_folded(path)) is not None and not (is_folder and taken[_folded(path)]):
        raise DataError(f"{archive}: {path} appears twice, or differs from another name only by case; get another copy")
    taken[_folded(path)] = is_folder


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _members(archive: Path, file: BinaryIO, bound: int) -> Iterator[Member]:
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"PK"):
        return _of_zip(file)
    most = bound + 64 * CHUNK  # headers add to the contents
    if head.startswith(b"\x1f\x8b"):
        return _of_tar(_Guard(gzip.GzipFile(fileobj=file), most))
    if head.startswith(b"BZh"):
        return _of_tar(_Guard(bz2.BZ2File(file), most))
    if head.startswith(b"\xfd7zXZ\0"):
        return _of_tar(_Guard(lzma.LZMAFile(file), most))
    if _is_tar(file):
        return _of_tar(_Guard(file, most))
    if part := PART.search(archive.name):
        raise _is_part(archive, part)
    raise DataError(
        f"{archive}: not a zip or tar (first bytes {head!r}), perhaps a web page instead of the archive; "
        "look at it, unpack other formats with their own program and fetch the folder"
    )


def _is_tar(file: BinaryIO) -> bool:
    block = file.read(512)
    file.seek(0)
    return block[257:262] == b"ustar"


def _of_zip(file: BinaryIO) -> Iterator[Member]:
    with zipfile.ZipFile(file) as opened:
        infos = opened.infolist()
        windows = any("\\" in info.filename for info in infos) and not any("/" in info.filename for info in infos)
        for info in infos:
            if windows:  # some programs of Windows write its separator, against the format
                info.filename = info.filename.replace("\\", "/")
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                yield Member(info.filename, None, "a link or device")
            elif info.flag_bits & 1:
                yield Member(info.filename, None, "encrypted")
            elif info.is_dir():
                yield Member(info.filename, None)
            else:
                with opened.open(info) as content:
                    yield Member(info.filename, content)


def _of_tar(file: _Guard) -> Iterator[Member]:
    with closing(file), tarfile.open(fileobj=cast("IO[bytes]", file), mode="r:") as opened:
        for info in opened:
            if info.isdir():
                yield Member(info.name, None)
            elif not info.isreg() or info.issparse():
                yield Member(info.name, None, "a link, device or sparse file")
            else:
                yield Member(info.name, opened.extractfile(info))
            vars(opened)["members"].clear()  # tarfile would keep them all


class _Guard:
    """A stream that refuses huge reads, and reads beyond ``bound`` bytes, whatever its headers request."""

    def __init__(self, file: BinaryIO | BufferedIOBase, bound: int) -> None:
        self._file, self._bound = file, bound

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_HEADER:
            raise DataError(f"the tar asks for {size:,} bytes of header at once, a bomb; get another copy")
        return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        if whence or place > self._bound:
            raise DataError(f"the tar continues beyond {self._bound:,} bytes, a bomb; get another copy")
        return self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
