"""The command ``fetch``: from a folder, an archive or an address to a folder of raw data, and advice on the next step."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.console import say
from pipeline.data.downloads import download
from pipeline.versioning.dvc import run_dvc
from rdmc.datasets.archives import safe_name, unpack
from rdmc.datasets.benchmarks.registry import BENCHMARKS
from rdmc.datasets.layouts import Hints, find_pairs
from rdmc.datasets.review import lacking
from rdmc.errors import ConfigError, DataError
from rdmc.files import file_digest, new_folder

CACHE = Path(".cache/fetch")
"""Folder of complete and partial downloads."""


def run(source: str, dest: Path, sha256: str, dvc: bool) -> None:
    """Make the folder ``dest`` from ``source``, report how its files are laid out, and add it to DVC or say how.

    Raises ConfigError if ``dest`` exists or ``source`` cannot be fetched, DataError if the data is damaged, unsafe or does not
    have the digest ``sha256``, ServiceError if a server or DVC refuses.
    """
    if dest.exists():
        raise ConfigError(f"{dest}: is there already; remove it or name another folder")
    if source.startswith("s3://") and source.endswith("/"):
        raise ConfigError(
            f"{source}: a folder of a bucket; run `dvc import-url {source} {dest}`, which downloads and versions it"
        )
    if source.startswith("s3://") and not urlsplit(source).path.strip("/"):
        raise ConfigError(f"{source}: names a bucket and no object; add the archive's key, s3://bucket/path/name.zip")
    if "://" in source:
        files = _unpack_download(download(source, CACHE, sha256), dest)
    elif Path(source).is_dir():
        if sha256:
            raise ConfigError("--sha256: is for archives, a folder has no digest; leave it out")
        files = copy(Path(source), dest)
    elif Path(source).is_file():
        digest = file_digest(Path(source)) if sha256 else ""
        if digest != sha256.lower():
            raise DataError(f"{source}: sha256 {digest}, the rule is {sha256}; fetch it again or fix the digest")
        files = unpack(Path(source), dest, tell=say)
    else:
        raise ConfigError(f"{source}: no such file, folder or address; name a folder, an archive, s3://… or https://…")
    say(f"{dest}: {files:,} files")
    _advise(source, dest)
    if dvc:
        run_dvc(Path(), "add", str(dest))
        say(f"added to DVC; commit it: git add {dest}.dvc {dest.parent / '.gitignore'}")
    else:
        say(f"to version it: dvc add {dest}")


def _unpack_download(archive: Path, dest: Path) -> int:
    """Unpack what was downloaded. An archive that cannot be unpacked is deleted, so that the next fetch asks for it again."""
    try:
        return unpack(archive, dest, tell=say)
    except DataError:
        archive.unlink()
        raise


def copy(source: Path, dest: Path) -> int:
    """Copy the plain files below ``source`` and return their number. Raises DataError for a link, a device or a taken name."""
    with new_folder(dest) as folder:
        count = 0
        for root, folders, names in os.walk(source):
            for name in (*folders, *names):
                path = Path(root, name)
                kind = path.lstat().st_mode
                if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                    raise DataError(f"{path}: a link or device, the rule is files and folders; remove it or fetch its target")
                target = folder / safe_name(path.relative_to(source).as_posix())
                if stat.S_ISDIR(kind):
                    target.mkdir()
                else:
                    shutil.copyfile(path, target)
                    count += 1
        if not count:
            raise DataError(f"{source}: holds no files; name the folder with the data")
    return count


def _advise(source: str, dest: Path) -> None:
    """Report how the pairs are laid out, which benchmark they may be, and the lines for params.yaml."""
    try:
        found = find_pairs(dest, Hints(split="test"))
    except DataError as error:
        say(f"{error}")
        return
    say(f"{dest}: {found}")
    for line in (*found.notes, *lacking(str(dest), found.counts(), None)):
        say(line)
    for kind in sorted({fault.reason for fault in found.faults}):
        files = [Path(fault.file).name for fault in found.faults if fault.reason == kind]
        say(f"{dest}: {len(files)} pictures left over ({', '.join(files[:2])}{', …' if len(files) > 2 else ''}): {kind}")
    names = candidates(dest, source)
    if found.matches and names:
        part = ", partial: true" if names[0] in partly(found.counts()) else ""
        say(f"in params.yaml, datasets:  {names[0]}: {{source: benchmark, name: {names[0]}, path: {dest}{part}}}")
        others = f"it may also be {', '.join(names[1:6])}; " if names[1:] else ""
        say(f"{others}`dvc repro prepare@{names[0]}` checks its counts and its input PSNR-Y, and reports which benchmark it is")


def partly(counts: dict[str, int]) -> set[str]:
    """Benchmarks with these counts in a known part, and in no whole copy."""
    copies = [
        (name, copy) for name, entry in BENCHMARKS.items() for copy in entry.copies if counts.items() <= copy.pairs.items()
    ]
    return {name for name, copy in copies if not copy.whole} - {name for name, copy in copies if copy.whole}


def candidates(dest: Path, source: str) -> list[str]:
    """Benchmarks with the folder's counts. Those that ``source`` or ``dest`` name come first."""
    hints = {entry.hints if entry.hints.split else replace(entry.hints, split="test") for entry in BENCHMARKS.values()}
    counted = {hint: _counts(dest, hint) for hint in hints}  # once per hint, because each scan reads the whole folder
    fitting = []
    for name, entry in BENCHMARKS.items():
        counts = counted[entry.hints if entry.hints.split else replace(entry.hints, split="test")]
        if counts and any(counts.items() <= copy.pairs.items() for copy in entry.copies):
            fitting.append(name)
    return sorted(fitting, key=lambda name: name not in f"{source} {dest}".lower())


def _counts(dest: Path, hints: Hints) -> dict[str, int]:
    try:
        return find_pairs(dest, hints).counts()
    except DataError:
        return {}
