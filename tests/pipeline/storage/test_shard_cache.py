"""The shard cache holds complete files only and keeps its size limit, for any number of writers, however they end."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from pipeline.storage.shard_cache import ShardCache
from rdmc.data.shards import Shard
from rdmc.errors import ConfigError, DataError, ServiceError
from tests.support.imports import ROOT

SIZE = 300_000


def content(number: int) -> bytes:
    return np.random.default_rng(number).bytes(SIZE)


def shard(number: int) -> Shard:
    data = content(number)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Shard(f"train-{number:05d}.tar", "train", SIZE, 0, md5, hashlib.sha256(data).hexdigest(), ())


def saves(number: int, count: list[int] | None = None) -> Callable[[BinaryIO], None]:
    def save(file: BinaryIO) -> None:
        if count is not None:
            count.append(number)
        for start in range(0, SIZE, 50_000):
            file.write(content(number)[start : start + 50_000])

    return save


def held(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """No other process makes room, reserves it or renames a file meanwhile."""
    (folder / "locks").mkdir(exist_ok=True)
    with (folder / "locks" / "room").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_shard_is_written_once_and_then_reused(tmp_path: Path) -> None:
    cache, count = ShardCache(tmp_path / "c", 1), list[int]()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.path(shard(1), saves(1, count)), range(24)))
    assert count == [1]
    assert {path.read_bytes() for path in found} == {content(1)}


def test_the_least_recently_used_shard_is_removed_first(tmp_path: Path) -> None:
    cache, count = ShardCache(tmp_path, 1), list[int]()
    for number in (1, 2, 3, 1, 4, 1):  # three fit; 2 is the least recently used when 4 comes
        cache.path(shard(number), saves(number, count))
    assert count == [1, 2, 3, 4]
    assert {path.stem for path in tmp_path.glob("*.tar")} == {shard(number).md5 for number in (1, 3, 4)}
    assert held(tmp_path) <= 10**6


def test_a_failed_download_leaves_no_file_and_no_lock(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1)

    def fails(file: BinaryIO) -> None:
        file.write(b"half")
        raise ServiceError("the bucket is away")

    with pytest.raises(ServiceError, match="away"):
        cache.path(shard(1), fails)
    assert held(tmp_path) == 0
    assert cache.path(shard(1), saves(1)).read_bytes() == content(1)


def test_a_truncated_file_is_written_again(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1)
    path = cache.path(shard(1), saves(1))
    path.write_bytes(content(1)[:100])
    assert cache.path(shard(1), saves(1)).read_bytes() == content(1)


def test_a_limit_below_one_shard_is_refused(tmp_path: Path) -> None:
    big = Shard("train-00000.tar", "train", 2_500_000, 0, "ab", "cd", ())
    with pytest.raises(ConfigError, match=r"RDMC_SHARD_CACHE_MB: 1 MB are too few, train-00000.tar alone has 2; raise it"):
        ShardCache(tmp_path, 1).path(big, saves(1))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=f"{tmp_path}: the disk is full, train-00001.tar needs 0 MB; free some") as caught:
        ShardCache(tmp_path, 1).path(shard(1), saves(1))
    assert "\n" not in str(caught.value)
    assert held(tmp_path) == 0


KILLED = """
import sys, time
from pathlib import Path
from pipeline.storage.shard_cache import ShardCache
from tests.pipeline.storage.test_shard_cache import content, shard

def save(file):
    file.write(content(1)[:100_000])
    file.flush()
    print("half", flush=True)
    sys.stdin.read()

ShardCache(Path(sys.argv[1]), 1).path(shard(1), save)
"""


def test_kill_9_during_a_download_leaves_a_sound_cache(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "half\n"
    cache = ShardCache(tmp_path, 1)
    for number in (2, 3, 4):  # its room stays reserved while the process lives
        cache.path(shard(number), saves(number))
        assert held(tmp_path) <= 10**6
    assert len(list(tmp_path.glob(".*.part"))) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / f"{shard(1).md5}.tar").exists()
    cache.path(shard(5), saves(5))
    assert not list(tmp_path.glob(".*.part"))  # the killed process's temporary file is removed
    assert cache.path(shard(1), saves(1)).read_bytes() == content(1)


def _use_many(folder: str, seed: int) -> None:
    cache, rng = ShardCache(Path(folder), 1), np.random.default_rng(seed)
    for _ in range(40):
        number = int(rng.integers(8))
        path = cache.path(shard(number), saves(number))
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # another process took its room: a reader requests it again
        if data != content(number):
            raise SystemExit(3)


def test_the_size_limit_holds_with_many_writers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_use_many, args=(str(tmp_path), seed)) for seed in range(3)]
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            with room(tmp_path):  # counts while no rename can happen
                most[0] = max(most[0], held(tmp_path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done.set()
    watcher.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert SIZE < most[0] <= 10**6
