"""Batches for training: crops of the pairs that the sampling draws, made ahead by a thread or by loader processes."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from rdmc.data.loader import PairStore
from rdmc.data.sampling import Sampling, crop_generator, rank_slots, split_slots
from rdmc.data.transforms import crop_pair, to_tensor
from rdmc.errors import RdmcError

AHEAD = 4
"""The most batches that wait for the consumer."""
FETCHERS = 4
"""Shards that are fetched ahead in parallel."""


@dataclass(frozen=True)
class Batch:
    """The data of one rank in one step: both (n, 3, crop, crop), RGB, uint8, 0 to 255, channels last in memory."""

    step: int
    rainy: Tensor
    clean: Tensor
    keys: list[str]


def batches(
    store: PairStore,
    sampling: Sampling,
    *,
    crop: int,
    start: int,
    steps: int,
    rank: int = 0,
    world: int = 1,
    loaders: int = 0,
) -> Generator[Batch, None, None]:
    """Yield the batches of ``rank`` for steps ``start`` to ``steps`` - 1, made a few steps ahead.

    The content of a batch depends only on ``sampling``, step and store. ``loaders`` processes make the batches, each of them
    its slots of every batch; for 0 a thread makes them. Both end with the iterator, and an exception in them is raised here.
    Raises ConfigError if the batch does not divide among ``world`` workers.
    """
    made = _Made(store, sampling, crop, range(start, steps), rank_slots(sampling.global_batch_size, rank, world))
    return _by_processes(made, min(loaders, len(made.slots))) if loaders else _by_thread(iter(made))


def make_batch(store: PairStore, sampling: Sampling, step: int, slots: range, crop: int) -> Batch:
    """Read, crop and stack the pairs at ``slots`` of a step."""
    shape = (len(slots), crop, crop, 3)
    rainy, clean, keys = np.empty(shape, np.uint8), np.empty(shape, np.uint8), []
    for place, slot in enumerate(slots):
        draw = sampling.draw(step, slot)
        pair = store[draw.sample]
        rainy[place], clean[place] = crop_pair(pair.rainy, pair.clean, crop, crop_generator(sampling.seed, draw))
        keys.append(pair.key)
    return Batch(step, to_tensor(rainy), to_tensor(clean), keys)


@dataclass(frozen=True)
class _Made(IterableDataset[Batch | RdmcError]):
    """The parts of some steps' batches that belong to ``slots``; in a loader process, to its share of the slots."""

    store: PairStore
    sampling: Sampling
    crop: int
    steps: range
    slots: range

    def __iter__(self) -> Generator[Batch | RdmcError, None, None]:
        info = get_worker_info()
        slots = split_slots(self.slots, info.id, info.num_workers) if info else self.slots
        try:
            with _Prefetch(self.store, self.sampling) as prefetch:
                for step in self.steps:
                    prefetch(step)
                    yield make_batch(self.store, self.sampling, step, slots, self.crop)
        except RdmcError as error:
            if info is None:
                raise
            yield error  # as a value: an exception of a loader process arrives as another error, a traceback its message


class _Prefetch:
    """Fetches the shards of the current and the next windows, each once, in threads."""

    def __init__(self, store: PairStore, sampling: Sampling) -> None:
        self.store, self.sampling = store, sampling
        self.asked: set[tuple[int, int]] = set()
        self.pool = ThreadPoolExecutor(FETCHERS, "rdmc-fetch")

    def __enter__(self) -> _Prefetch:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)

    def __call__(self, step: int) -> None:
        """Fetch the shards that ``step`` and the windows after its own need, unless the previous step requested them."""
        if self.store.is_local:
            return
        now, soon = self.sampling.shards_of(step), self.sampling.shards_after(step)
        for part, shard in [*sorted(now - self.asked), *sorted(soon - now - self.asked)]:
            self.pool.submit(self.store.prefetch, part, shard)
        self.asked = now | soon


def _by_processes(made: _Made, processes: int) -> Generator[Batch, None, None]:
    """Yield batches joined from the parts that ``processes`` make, in turn for every step."""
    store = copy.copy(made.store)
    store.share_cache(processes)
    made = _Made(store, made.sampling, made.crop, made.steps, made.slots)
    found = iter(
        DataLoader(made, batch_size=None, num_workers=processes, prefetch_factor=AHEAD, multiprocessing_context="spawn")
    )
    try:
        for step in made.steps:
            parts = []
            for _ in range(processes):
                part = next(found)
                if isinstance(part, RdmcError):
                    raise part
                parts.append(part)
            keys = [key for part in parts for key in part.keys]
            yield Batch(step, torch.cat([part.rainy for part in parts]), torch.cat([part.clean for part in parts]), keys)
    finally:
        del found  # ends the processes now, not when the traceback of an exception is released


def _by_thread(items: Generator[Batch | RdmcError, None, None]) -> Generator[Batch, None, None]:
    """Yield ``items``, which a thread computes up to ``AHEAD`` items early. Its exceptions are raised here."""
    with closing(items), ThreadPoolExecutor(1, "rdmc-batches") as pool:
        ahead = deque(pool.submit(_next, items) for _ in range(AHEAD))
        try:
            while (item := ahead.popleft().result()) is not None:
                if isinstance(item, RdmcError):
                    raise item
                ahead.append(pool.submit(_next, items))
                yield item
        finally:  # runs as well when the consumer closes or drops the generator early
            pool.shutdown(cancel_futures=True)


def _next(items: Iterator[Batch | RdmcError]) -> Batch | RdmcError | None:
    return next(items, None)
