import gc
import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable, Sized
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rdmc.data import loader
from rdmc.data.batches import AHEAD, Batch, batches, make_batch
from rdmc.data.images import Image, decode
from rdmc.data.loader import PairStore
from rdmc.data.sampling import Sampling
from rdmc.data.shards import MANIFEST, read_manifest
from rdmc.errors import ConfigError, DataError

MakeShards = Callable[..., Path]


@pytest.fixture
def store(make_shards: MakeShards) -> PairStore:
    return PairStore([make_shards("b"), make_shards("a")], "train")


def plan(store: PairStore, size: int = 6, crops: int = 1) -> Sampling:
    return Sampling(5, store.parts(), size, crops, 2)


def some(
    store: PairStore, start: int = 0, steps: int = 6, rank: int = 0, world: int = 1, loaders: int = 0, crops: int = 1
) -> list[Batch]:
    sampling = plan(store, crops=crops)
    return list(batches(store, sampling, crop=16, start=start, steps=steps, rank=rank, world=world, loaders=loaders))


def fetchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("rdmc-")]


def gone(threads: Callable[[], Sized]) -> bool:
    until = time.monotonic() + 120  # a busy machine takes long to end a process
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    return not threads()


def test_batches_are_crops_of_pairs_in_bytes(store: PairStore) -> None:
    found = some(store)
    assert [batch.step for batch in found] == list(range(6))
    for batch in found:
        assert batch.rainy.shape == batch.clean.shape == (6, 3, 16, 16)
        assert batch.rainy.dtype == batch.clean.dtype == torch.uint8
        assert not torch.equal(batch.rainy, batch.clean)
    assert sorted([key for batch in found for key in batch.keys][:14]) == sorted(store[i].key for i in range(14))


def test_images_smaller_than_the_crop_are_extended(store: PairStore) -> None:
    batch = next(batches(store, plan(store, 2), crop=64, start=0, steps=1))
    assert batch.rainy.shape == (2, 3, 64, 64)


@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_any_number_of_workers_and_any_restart_see_the_same_batches(world: int, crops: int, store: PairStore) -> None:
    whole = some(store, crops=crops)
    for start in (0, 4):
        ranks = [some(store, start, rank=rank, world=world, crops=crops) for rank in range(world)]
        for step, parts in enumerate(zip(*ranks, strict=True), start):
            assert torch.equal(torch.cat([part.rainy for part in parts]), whole[step].rainy)
            assert torch.equal(torch.cat([part.clean for part in parts]), whole[step].clean)
            assert list(itertools.chain(*(part.keys for part in parts))) == whole[step].keys


def test_a_small_cache_changes_only_the_time(
    store: PairStore, make_shards: MakeShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = PairStore([make_shards("a"), make_shards("b")], "train", cache_mb=0)
    assert all(torch.equal(a.rainy, b.rainy) for a, b in zip(some(store), some(small), strict=True))
    decoded: list[str] = []

    def counted(data: bytes, name: str) -> Image:
        decoded.append(name)
        return decode(data, name)

    monkeypatch.setattr(loader, "decode", counted)
    some(store)
    assert decoded == []  # everything was cached
    some(small)
    assert len(decoded) == 2 * 36  # nothing was cached


def test_the_thread_ends_when_the_iterator_is_closed_or_dropped(store: PairStore) -> None:
    iterator = batches(store, plan(store, 2), crop=16, start=0, steps=10**6)
    next(iterator)
    assert len(fetchers()) == 1
    iterator.close()
    assert gone(fetchers)
    iterator = batches(store, plan(store, 2), crop=16, start=0, steps=10**6)
    next(iterator)
    del iterator
    gc.collect()
    assert gone(fetchers)
    some(store)
    assert gone(fetchers)


def test_an_error_in_the_thread_is_raised_in_the_consumer(make_shards: MakeShards) -> None:
    folder = make_shards("a")
    shard, sample = read_manifest(folder / MANIFEST).samples("train")[0]
    data = bytearray((folder / shard.name).read_bytes())
    offset, size = sample.members["rainy.png"]
    data[offset + size // 2] ^= 1
    (folder / shard.name).write_bytes(data)
    with pytest.raises(DataError, match=r"train-00000\.tar: train-0\.rainy\.png: damaged"):
        some(PairStore([folder], "train"))
    assert gone(fetchers)


@pytest.mark.parametrize("error", [MemoryError("full"), SystemExit(3)], ids=["exception", "exit"])
def test_an_error_in_the_thread_arrives_after_its_finished_batches(
    error: BaseException, store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(store: PairStore, sampling: Sampling, step: int, slots: range, crop: int) -> Batch:
        if step == 2:
            raise error
        return make_batch(store, sampling, step, slots, crop)

    monkeypatch.setattr("rdmc.data.batches.make_batch", spoilt)
    found: list[int] = []
    with pytest.raises(type(error)) as caught:
        found.extend(batch.step for batch in batches(store, plan(store), crop=16, start=0, steps=6))
    assert found == [0, 1]
    assert caught.value is error
    assert gone(fetchers)


def test_the_thread_is_a_few_batches_ahead_and_no_more(store: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(store: PairStore, sampling: Sampling, step: int, slots: range, crop: int) -> Batch:
        made.append(step)
        return Batch(step, torch.zeros(1), torch.zeros(1), [])

    monkeypatch.setattr("rdmc.data.batches.make_batch", counted)
    iterator = batches(store, plan(store), crop=16, start=0, steps=10**6)
    for taken in range(1, 100):
        assert next(iterator).step == taken - 1
        assert len(made) <= taken + AHEAD
    iterator.close()
    assert made == list(range(len(made)))


def test_a_batch_that_does_not_divide_is_refused_at_once(store: PairStore) -> None:
    with pytest.raises(ConfigError, match="8 does not divide among 3 workers"):
        batches(store, plan(store, 8), crop=16, start=0, steps=1, rank=0, world=3)


def test_loader_processes_make_the_same_batches(store: PairStore) -> None:
    for one, other in zip(some(store, 3, crops=2), some(store, 3, crops=2, loaders=2, world=1), strict=True):
        assert torch.equal(one.rainy, other.rainy)
        assert torch.equal(one.clean, other.clean)
        assert (one.step, one.keys) == (other.step, other.keys)


def test_an_error_in_a_loader_process_is_the_same_line(make_shards: MakeShards) -> None:
    folder = make_shards("a")
    store = PairStore([folder], "train")
    for path in folder.glob("train-*.tar"):
        path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(DataError, match=r"train-\d+\.tar: train-\d\.\w+\.png: not an image") as caught:
        some(store, loaders=1)
    assert "\n" not in str(caught.value)
    assert gone(multiprocessing.active_children)


def test_a_dataset_of_higher_weight_is_drawn_more_often(store: PairStore) -> None:
    sampling = replace(plan(store), parts=store.parts({"a": 3.0}))
    found = [key for batch in batches(store, sampling, crop=16, start=0, steps=14) for key in batch.keys]
    assert sum(key.startswith("a/") for key in found) == 3 * 21
