import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rdmc.data import loader
from rdmc.data.images import decode, read_rgb
from rdmc.data.loader import PairStore
from rdmc.data.shards import MANIFEST, Shard
from rdmc.errors import DataError

MakeShards = Callable[..., Path]


@pytest.fixture
def store(make_shards: MakeShards) -> PairStore:
    return PairStore([make_shards("b"), make_shards("a")], "train")


def test_every_pair_has_its_pixels(store: PairStore, pairs: Path) -> None:
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


def test_the_cache_stays_within_its_bytes(make_shards: MakeShards) -> None:
    store = PairStore([make_shards("a")], "train")
    sizes = [store[i].rainy.nbytes * 2 for i in range(7)]
    bounded = PairStore([make_shards("a")], "train")
    bounded._room = sum(sizes[:3])
    for index in (0, 1, 2, 0, 3):
        bounded[index]
    assert 0 in bounded._kept  # used again, so 1 was dropped first
    assert 1 not in bounded._kept
    assert sum(loader._size(pair) for pair in bounded._kept.values()) <= sum(sizes[:3])
    assert loader.PairStore.__getstate__(bounded)["_room"] == sum(sizes[:3])  # another process has the same room


def test_many_threads_read_the_same_pixels(make_shards: MakeShards, store: PairStore) -> None:
    shared = PairStore([make_shards("a"), make_shards("b")], "train", cache_mb=0)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: shared[i % 14], range(140)))
    assert all(np.array_equal(pair.rainy, store[i % 14].rainy) for i, pair in enumerate(found))


def test_shards_that_do_not_fit_the_manifest_are_refused_at_once(make_shards: MakeShards) -> None:
    folder = make_shards("a")
    (folder / "validation-00000.tar").unlink()
    with pytest.raises(DataError, match=r"validation-00000\.tar: no such file, the manifest says"):
        PairStore([folder], "train")


def test_an_empty_split_is_refused_unless_allowed(make_shards: MakeShards) -> None:
    folder = make_shards("a")
    with pytest.raises(DataError, match=f"{folder}: no holiday pairs; name some in params.yaml"):
        PairStore([folder], "holiday")
    assert len(PairStore([folder], "holiday", allow_empty=True)) == 0


def test_another_process_gets_the_same_pairs_and_an_empty_cache(store: PairStore) -> None:
    kept = store[0]
    other = pickle.loads(pickle.dumps(store))
    assert not other._kept
    assert np.array_equal(other[0].rainy, kept.rainy)
    assert other.digest == store.digest


def test_parts_number_pairs_as_the_store_does(store: PairStore) -> None:
    parts = store.parts({"b": 2.5})
    assert [part.weight for part in parts] == [1.0, 2.5]
    assert [part.count for part in parts] == [7, 7]
    assert all(len(part.shards) > 1 for part in parts)
    shards = [store._places[7 + int(first)].shard.name for first in parts[1].firsts]
    assert shards == [f"train-{i:05d}.tar" for i in range(len(shards))]


def test_shards_may_be_elsewhere_and_be_removed_again(make_shards: MakeShards, tmp_path: Path) -> None:
    folder = make_shards("a")
    whole = PairStore([folder], "train")
    elsewhere = folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    (elsewhere / MANIFEST).rename(folder / MANIFEST)
    asked: list[str] = []

    def fetch(of: Path, shard: Shard) -> Path:
        asked.append(shard.name)
        return (elsewhere if len(asked) % 2 == 0 else of) / shard.name  # every other time it is missing

    store = PairStore([folder], "train", cache_mb=0, fetch=fetch)
    assert all(np.array_equal(store[i].rainy, decode(_member(elsewhere, store, i), "")) for i in range(7))
    assert len(whole) == len(store) == 7
    gone = PairStore([folder], "train", fetch=lambda of, shard: of / shard.name)
    with pytest.raises(DataError, match=r"train-00000\.tar: was removed before every attempt to read it; run"):
        gone[0]


def _member(folder: Path, store: PairStore, index: int) -> bytes:
    place = store._places[index]
    offset, size = place.sample.members["rainy.png"]
    return (folder / place.shard.name).read_bytes()[offset : offset + size]
