import gc
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from rdmc.data import loader
from rdmc.data.images import Image, decode, read_rgb
from rdmc.data.loader import Batch, PairStore, batches
from rdmc.data.shards import MANIFEST, read_manifest
from rdmc.errors import ConfigError, DataError

MakeShards = Callable[..., Path]


@pytest.fixture
def store(make_shards: MakeShards) -> PairStore:
    return PairStore([make_shards("b"), make_shards("a")], "train")


def some(store: PairStore, start: int = 0, steps: int = 6, rank: int = 0, world: int = 1) -> list[Batch]:
    return list(batches(store, seed=5, global_batch_size=6, crop=16, start=start, steps=steps, rank=rank, world=world))


def fetchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rdmc-batches"]


def gone(threads: Callable[[], list[threading.Thread]]) -> bool:
    until = time.monotonic() + 5
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    return not threads()


def test_every_pair_comes_back_with_its_pixels(store: PairStore, pairs: Path) -> None:
    assert len(store) == 14
    assert [store[i].key for i in range(14)] == [f"{name}/train-{i}" for name in "ab" for i in range(7)]
    assert np.array_equal(store[-1].rainy, read_rgb(pairs / "train/train-6.rainy.png"))
    assert np.array_equal(store[3].clean, read_rgb(pairs / "train/train-3.clean.png"))
    with pytest.raises(IndexError):
        store[14]


def test_the_order_of_folders_does_not_matter(make_shards: MakeShards, store: PairStore) -> None:
    other = PairStore([make_shards("a"), make_shards("b")], "train")
    assert other[0].key == store[0].key
    assert other.digest == store.digest
    assert PairStore([make_shards("a")], "train").digest != store.digest


def test_batches_are_crops_of_pairs_between_0_and_1(store: PairStore) -> None:
    found = some(store)
    assert [batch.step for batch in found] == list(range(6))
    for batch in found:
        assert batch.rainy.shape == batch.clean.shape == (6, 3, 16, 16)
        assert batch.rainy.dtype == torch.float32
        assert batch.rainy.min() >= 0
        assert batch.rainy.max() <= 1
        assert not torch.equal(batch.rainy, batch.clean)
    assert sorted([key for batch in found for key in batch.keys][:14]) == sorted(store[i].key for i in range(14))


def test_crops_larger_than_the_images_are_filled(store: PairStore) -> None:
    batch = next(batches(store, seed=0, global_batch_size=2, crop=64, start=0, steps=1))
    assert batch.rainy.shape == (2, 3, 64, 64)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_any_number_of_workers_and_any_restart_see_the_same_batches(world: int, store: PairStore) -> None:
    whole = some(store)
    for start in (0, 4):
        ranks = [some(store, start, rank=rank, world=world) for rank in range(world)]
        for step, parts in enumerate(zip(*ranks, strict=True), start):
            assert torch.equal(torch.cat([part.rainy for part in parts]), whole[step].rainy)
            assert torch.equal(torch.cat([part.clean for part in parts]), whole[step].clean)
            assert list(itertools.chain(*(part.keys for part in parts))) == whole[step].keys


def test_a_small_cache_changes_nothing_but_time(
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
    assert decoded == []  # everything was kept
    some(small)
    assert len(decoded) == 2 * 36  # nothing was


def test_the_cache_stays_within_its_bytes(make_shards: MakeShards) -> None:
    store = PairStore([make_shards("a")], "train")
    sizes = [store[i].rainy.nbytes * 2 for i in range(7)]
    bounded = PairStore([make_shards("a")], "train")
    bounded._room = sum(sizes[:3])
    for index in (0, 1, 2, 0, 3):
        bounded[index]
    assert 0 in bounded._kept  # used again, so 1 went first
    assert 1 not in bounded._kept
    assert sum(loader._size(pair) for pair in bounded._kept.values()) <= sum(sizes[:3])


def test_many_threads_read_the_same_pixels(make_shards: MakeShards, store: PairStore) -> None:
    shared = PairStore([make_shards("a"), make_shards("b")], "train", cache_mb=0)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: shared[i % 14], range(140)))
    assert all(np.array_equal(pair.rainy, store[i % 14].rainy) for i, pair in enumerate(found))


def test_the_thread_ends_when_the_iterator_is_closed_or_forgotten(store: PairStore) -> None:
    iterator = batches(store, seed=0, global_batch_size=2, crop=16, start=0, steps=10**6)
    next(iterator)
    assert len(fetchers()) == 1
    iterator.close()
    assert gone(fetchers)
    iterator = batches(store, seed=0, global_batch_size=2, crop=16, start=0, steps=10**6)
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


def test_shards_that_do_not_fit_the_manifest_are_refused_before_work(make_shards: MakeShards) -> None:
    folder = make_shards("a")
    (folder / "validation-00000.tar").unlink()
    with pytest.raises(DataError, match=r"validation-00000\.tar: no such file, the manifest says"):
        PairStore([folder], "train")


def test_an_empty_split_is_refused_unless_allowed(make_shards: MakeShards) -> None:
    folder = make_shards("a")
    with pytest.raises(DataError, match=f"{folder}: no holiday pairs; name some in params.yaml"):
        PairStore([folder], "holiday")
    assert len(PairStore([folder], "holiday", allow_empty=True)) == 0


def test_a_batch_that_does_not_divide_is_refused_at_once(store: PairStore) -> None:
    with pytest.raises(ConfigError, match="8 does not divide among 3 workers"):
        batches(store, seed=0, global_batch_size=8, crop=16, start=0, steps=1, rank=0, world=3)
