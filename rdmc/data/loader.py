"""Batches for training: pairs by position from shards, decoded once, cropped often, fetched ahead by a thread."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Lock, Thread

import torch
from torch import Tensor

from rdmc.data.images import Image, decode
from rdmc.data.pairs import sha256
from rdmc.data.sampling import crop_generator, local_batch_size, sample_at, stream_positions
from rdmc.data.shards import AGAIN, MANIFEST, Sample, check_size, read_manifest
from rdmc.data.transforms import crop_pair, to_tensor
from rdmc.errors import DataError

AHEAD = 4
"""Batches that may wait for the consumer."""


@dataclass(frozen=True)
class Pair:
    """A decoded pair: both (H, W, 3), RGB, 0 to 255."""

    key: str
    """``dataset/name``."""
    dataset: str
    rainy: Image
    clean: Image


@dataclass(frozen=True)
class Batch:
    """What a rank trains on in a step: both (n, 3, crop, crop), RGB, float32, 0 to 1."""

    step: int
    rainy: Tensor
    clean: Tensor
    keys: list[str]


class PairStore:
    """The pairs of one split of several datasets, by position; the order is that of dataset names and keys.

    ``folders`` are those that ``pack`` wrote. Decoded pairs are kept, up to ``cache_mb``, the least recently used going
    first. Safe to use from several threads. Raises DataError for a missing or damaged manifest or shard and, without
    ``allow_empty``, for a split without pairs.
    """

    def __init__(self, folders: Sequence[Path], split: str, cache_mb: int = 1024, allow_empty: bool = False) -> None:
        manifests = {folder: read_manifest(folder / MANIFEST) for folder in folders}
        self._places: list[tuple[str, Path, Sample]] = []
        for folder, manifest in sorted(manifests.items(), key=lambda item: item[1].dataset):
            for shard in manifest.shards:
                check_size(folder / shard.name, shard)
            self._places += [(manifest.dataset, folder / shard.name, sample) for shard, sample in manifest.samples(split)]
        if not self._places and not allow_empty:
            names = ", ".join(str(folder) for folder in folders)
            raise DataError(f"{names}: no {split} pairs; name some in params.yaml under `datasets` and run `dvc repro pack`")
        self.digest = sha256("\n".join(sorted(f"{m.dataset} {m.digest}" for m in manifests.values())).encode())
        """SHA-256 (hex) over the manifests: fixes every byte of the data."""
        self._room = cache_mb * 2**20
        self._kept: OrderedDict[int, Pair] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Pair:
        index = range(len(self))[index]  # counts from the end and raises IndexError as a list does
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        pair = self._read(index)
        with self._lock:
            self._keep(index, pair)
        return pair

    def labels(self) -> list[tuple[str, str]]:
        """Key (``dataset/name``) and scene of every pair, in order."""
        return [(f"{dataset}/{sample.key}", sample.scene) for dataset, _, sample in self._places]

    def select(self, keys: Collection[str]) -> PairStore:
        """The pairs of these keys, in the same order, as a store of its own with its share of the cache."""
        part = copy(self)
        part._places = [place for place in self._places if f"{place[0]}/{place[2].key}" in keys]
        part._kept, part._lock = OrderedDict(), Lock()
        part._room = self._room * len(part) // max(len(self), 1)
        return part

    def _read(self, index: int) -> Pair:
        dataset, shard, sample = self._places[index]
        found = {}
        for extension, (offset, size) in sample.members.items():
            role, _, kind = extension.partition(".")
            if kind:
                found[role] = decode(_bytes(shard, offset, size), f"{shard}: {sample.key}.{extension}")
        if set(found) != {"rainy", "clean"} or found["rainy"].shape != found["clean"].shape:
            raise DataError(f"{shard}: {sample.key} is not a rainy and a clean image of one size; {AGAIN}")
        return Pair(f"{dataset}/{sample.key}", dataset, found["rainy"], found["clean"])

    def _keep(self, index: int, pair: Pair) -> None:
        self._room += _size(self._kept.pop(index)) if index in self._kept else 0
        self._kept[index] = pair
        self._room -= _size(pair)
        while self._room < 0:
            self._room += _size(self._kept.popitem(last=False)[1])


def batches(
    store: PairStore, *, seed: int, global_batch_size: int, crop: int, start: int, steps: int, rank: int = 0, world: int = 1
) -> Generator[Batch, None, None]:
    """The batches of ``rank`` for steps ``start`` to ``steps`` - 1, made by a thread a few steps ahead.

    What a step holds depends on ``seed``, step and store only. The thread ends with the iterator, and an exception in it is
    raised here. Raises ConfigError where the batch does not divide among ``world`` workers.
    """
    local_batch_size(global_batch_size, world)

    def made() -> Iterator[Batch]:
        for step in range(start, steps):
            yield make_batch(store, seed, step, stream_positions(step, global_batch_size, rank, world), crop)

    return _ahead(made())


def make_batch(store: PairStore, seed: int, step: int, positions: range, crop: int) -> Batch:
    """Read, crop and stack what lies at ``positions`` of the stream."""
    rainy, clean, keys = [], [], []
    for position in positions:
        pair = store[sample_at(seed, position, len(store))]
        crops = crop_pair(pair.rainy, pair.clean, crop, crop_generator(seed, position))
        rainy.append(to_tensor(crops[0]))
        clean.append(to_tensor(crops[1]))
        keys.append(pair.key)
    return Batch(step, torch.stack(rainy), torch.stack(clean), keys)


def _ahead(items: Iterator[Batch]) -> Generator[Batch, None, None]:
    """Yield ``items``, which a thread computes up to ``AHEAD`` of them early."""
    waiting: Queue[Batch | BaseException | None] = Queue(AHEAD)
    stop = Event()
    thread = Thread(target=_produce, args=(items, waiting, stop), name="rdmc-batches", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:  # also when the consumer stops early: closing or collecting a generator lands here
        stop.set()
        _drain(waiting)  # a producer that waits for room finds some, sees ``stop`` and ends
        thread.join()


def _produce(items: Iterator[Batch], waiting: Queue[Batch | BaseException | None], stop: Event) -> None:
    try:
        for item in items:
            waiting.put(item)
            if stop.is_set():
                return
        waiting.put(None)
    except BaseException as error:  # noqa: BLE001  it is raised again in the consumer
        waiting.put(error)


def _drain(waiting: Queue[Batch | BaseException | None]) -> None:
    try:
        while True:
            waiting.get_nowait()
    except Empty:
        return


def _bytes(path: Path, offset: int, size: int) -> bytes:
    """Read at a position, without a shared file pointer. A file opened for each read costs little beside decoding."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, size, offset)
    finally:
        os.close(file)


def _size(pair: Pair) -> int:
    return pair.rainy.nbytes + pair.clean.nbytes
