"""Shards on a node's disk, shared by its processes, of bounded size: whatever bears a shard's name is whole.

A shard is written under a temporary name, its room taken beforehand, and renamed once its digest is right. Three rules keep
that true for any number of processes, ended in whatever way:

- who downloads a shard holds the lock of its name, which the kernel opens when the process ends;
- who makes room, takes it or gives a file its name holds the lock of the folder, for a moment;
- a temporary file whose lock is free belongs to nobody alive and is removed.

Room is made by removing what was not used for longest. A reader that finds its shard gone asks again.
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
"""Seconds between looks for room while all of it is taken by downloads of other processes."""
FULL = (errno.ENOSPC, errno.EDQUOT)


class ShardCache:
    """Shards below ``folder``, at most ``limit_mb`` of them at any time, those being written included."""

    def __init__(self, folder: Path, limit_mb: int) -> None:
        self.folder, self.limit = folder, limit_mb * MB

    def path(self, shard: Shard, save: Callable[[BinaryIO], None]) -> Path:
        """The shard's file; where there is none, ``save`` writes its bytes, right ones, and raises where it cannot.

        Raises ConfigError for a limit below the shard's size, DataError where the disk is full, and what ``save`` raises.
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
            with self._lock("room"):  # so that who counts what is held sees it under one name, and once
                part.rename(target)
        finally:
            part.unlink(missing_ok=True)

    def _reserve(self, shard: Shard) -> Path:
        """A temporary file of the shard's size, made once there is room for it."""
        part = self.folder / f".{shard.md5}.part"
        while True:
            with self._lock("room"):
                part.unlink(missing_ok=True)  # of a process that was killed: its lock is ours now
                if self._make_room(shard.size):
                    try:
                        with part.open("wb") as file:
                            os.posix_fallocate(file.fileno(), 0, shard.size)  # a full disk is seen here, before any download
                    except OSError:
                        part.unlink(missing_ok=True)
                        raise
                    return part
            time.sleep(WAIT)

    def _make_room(self, size: int) -> bool:
        """Remove the least recently used until ``size`` more bytes fit; whether they do."""
        whole, held = [], size
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # given up meanwhile, as of a download that failed
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
        """Only one thread of one process of this machine at a time."""
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
    """Whether the file is there, which is noted as its last use. One of another size, as a fault of a disk leaves it, goes."""
    try:
        os.utime(path)
        if path.stat().st_size == size:
            return True
        path.unlink()
    except FileNotFoundError:
        pass
    return False
