"""A cache of shards on a node's disk, shared by its processes and bounded in size. A file with a shard's name is complete.

A shard is written under a temporary name, in space reserved beforehand, and renamed once its digest is verified. Three rules
keep the cache correct for any number of processes, however they end:

- a process that downloads a shard holds the lock of the shard's name, which the kernel releases when the process ends;
- a process that makes room, reserves it, or renames a file holds the lock of the folder for that moment;
- a temporary file whose lock is free belongs to no living process, and is removed.

Room is made by removing the least recently used shards. A reader whose shard is gone requests it again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rdmc.data.shards import Shard
from rdmc.errors import ConfigError, DataError

MB = 1_000_000
WAIT = 0.05
"""Seconds between attempts to reserve room while other processes' downloads take all of it."""
FULL = (errno.ENOSPC, errno.EDQUOT)


class ShardCache:
    """Shards below ``folder``, at most ``limit_mb`` MB at any time, including those being written."""

    def __init__(self, folder: Path, limit_mb: int) -> None:
        self.folder, self.limit = folder, limit_mb * MB

    def path(self, shard: Shard, save: Callable[[BinaryIO], None]) -> Path:
        """The shard's file. If it is missing, ``save`` writes its verified bytes, or raises.

        Raises ConfigError for a limit below the shard's size, DataError if the disk is full, and what ``save`` raises.
        """
        target = self.folder / f"{shard.md5}.tar"
        if _used(target, shard.size):
            return target
        if shard.size > self.limit:
            needs = f"{shard.name} alone has {shard.size / MB:.0f}"
            raise ConfigError(f"RDMC_SHARD_CACHE_MB: {self.limit / MB:.0f} MB are too few, {needs}; raise it")
        try:
            with self._lock(shard.md5):
                if not _used(target, shard.size):
                    self._write(target, shard, save)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise DataError(
                f"{self.folder}: the disk is full, {shard.name} needs {shard.size / MB:.0f} MB; free some, lower "
                "RDMC_SHARD_CACHE_MB, or set RDMC_SHARD_CACHE to a folder on another disk"
            ) from None
        return target

    def _write(self, target: Path, shard: Shard, save: Callable[[BinaryIO], None]) -> None:
        part = self._reserve(shard)
        try:
            with part.open("r+b") as file:
                save(file)
                file.flush()
                os.fsync(file.fileno())
            with self._lock("room"):  # a process that counts the files must see each once
                part.rename(target)
        finally:
            part.unlink(missing_ok=True)

    def _reserve(self, shard: Shard) -> Path:
        """A temporary file of the shard's size, created once there is room for it."""
        part = self.folder / f".{shard.md5}.part"
        while True:
            with self._lock("room"):
                part.unlink(missing_ok=True)  # left by a killed process, whose lock we now hold
                if self._make_room(shard.size):
                    try:
                        with part.open("wb") as file:
                            os.posix_fallocate(file.fileno(), 0, shard.size)  # detects a full disk before the download
                    except OSError:
                        part.unlink(missing_ok=True)
                        raise
                    return part
            time.sleep(WAIT)

    def _make_room(self, size: int) -> bool:
        """Remove the least recently used shards until ``size`` more bytes fit. Returns whether they do."""
        whole, held = [], size
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # removed meanwhile, for example after a failed download
                if path.suffix == ".part" and self._is_free(path.name[1:].removesuffix(".part")):
                    path.unlink()
                elif path.is_file():
                    facts = path.stat()
                    held += facts.st_size
                    if path.suffix != ".part":
                        whole.append((facts.st_mtime_ns, path, facts.st_size))
        for _, path, bytes_ in sorted(whole):
            if held <= self.limit:
                break
            path.unlink(missing_ok=True)
            held -= bytes_
        return held <= self.limit

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Hold the lock ``name``, which one thread of one process on this machine holds at a time."""
        folder = self.folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _is_free(self, name: str) -> bool:
        with (self.folder / "locks" / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


def _used(path: Path, size: int) -> bool:
    """Whether the file exists; this counts as its last use. A file of the wrong size, as disk errors leave it, is removed."""
    try:
        os.utime(path)
        if path.stat().st_size == size:
            return True
        path.unlink()
    except FileNotFoundError:
        pass
    return False
