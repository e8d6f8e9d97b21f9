"""The crops that a step trains on: pure arithmetic, the same for any number of workers and loader processes.

There are three streams, each a function of the one before it and of numbers alone:

- A dataset's pairs, epoch after epoch. The order of an epoch shuffles the shards, then the pairs within each window of a
  few shards. So a reader needs few shards at once: those of one window, or of two at the end of a window.
- The mixture: the datasets' streams, interleaved as evenly as whole numbers allow, in proportion to pairs times weight.
- The crops: step ``s`` has ``B`` slots, where B is the global batch size. A slot goes through its own pairs of the mixture, a
  few at a time, and cuts some crops from each before it continues. So a pair is decoded once for several crops, and a
  batch still holds B different pairs of the mixture.

Rank ``r`` of ``w`` takes the r-th of w equal runs of slots, so a pair stays on one rank. A run may stop anywhere and resume
with more or fewer workers. It gets exactly the same batches: none is lost, none is repeated.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import lcm

import numpy as np
import numpy.typing as npt

from rdmc.errors import ConfigError

Indices = npt.NDArray[np.int64]
ORDER, CROP, WINDOW, ROUND, PATCH = 1, 2, 3, 4, 5
"""Constants that separate the random streams of one seed."""
DEPTH = 8
"""Pairs that a slot holds at once if it cuts several crops from each. Crops of one pair are about this many steps apart."""


@dataclass(frozen=True, eq=False)  # a cache key by identity: hashing thousands of shards for every draw is slow
class Part:
    """One dataset of a mixture."""

    shards: tuple[int, ...]
    """Pairs in each shard; never 0."""
    weight: float = 1.0
    """How often a pair of this dataset is drawn, relative to a pair of weight 1."""

    @cached_property
    def count(self) -> int:
        """Number of pairs in the dataset."""
        return sum(self.shards)

    @cached_property
    def firsts(self) -> Indices:
        """The number, within the dataset, of each shard's first pair."""
        return np.cumsum([0, *self.shards[:-1]])


@dataclass(frozen=True)
class Draw:
    """One crop of the stream."""

    sample: int
    """Number of the pair; the datasets' pairs are numbered one dataset after the other."""
    epoch: int
    """Number of complete passes over its dataset before this one."""
    crop: int
    """Number of the crop among those cut from the pair in this epoch."""


@dataclass(frozen=True)
class Sampling:
    """The stream of crops of a mixture."""

    seed: int
    parts: tuple[Part, ...]
    global_batch_size: int
    crops_per_decode: int = 1
    """Crops cut from a pair before its slot continues with the next."""
    shuffle_shards: int = 16
    """Number of shards in a window."""

    def draw(self, step: int, slot: int) -> Draw:
        """Return the crop at ``slot``, 0 to B - 1, of ``step``."""
        depth = DEPTH if self.crops_per_decode > 1 else 1
        block, within = divmod(step, depth * self.crops_per_decode)
        crop, place = divmod(within, depth)
        if depth > 1:
            place = int(_rounds(self.seed, block, self.crops_per_decode, self.global_batch_size)[crop, slot, place])
        part, turn = mixed(self._shares, (block * depth + place) * self.global_batch_size + slot)
        epoch, order, number = self._place(part, turn)
        pairs = _window_order(self.seed, part, epoch, number, self.parts[part], self.shuffle_shards)
        offset = turn - epoch * self.parts[part].count - order.starts[number]
        return Draw(self._firsts[part] + int(pairs[offset]), epoch, crop)

    def shards_of(self, step: int) -> set[tuple[int, int]]:
        """Return (part, shard) of the windows that ``step`` draws from, and of those its slots hold pairs from."""
        ranges = self._turns_around(step)
        return {(part, shard) for part, (begin, end) in enumerate(ranges) for shard in self._shards_between(part, begin, end)}

    def shards_after(self, step: int) -> set[tuple[int, int]]:
        """Return (part, shard) of the windows that come next."""
        found = set()
        for part, (begin, end) in enumerate(self._turns_around(step)):
            if self.parts[part].shards:
                start = self._window_end(part, end - 1) if end > begin else end
                found |= {(part, shard) for shard in self._shards_between(part, start, start + 1)}
        return found

    def _turns_around(self, step: int) -> list[tuple[int, int]]:
        """Return the first turn, and the one after the last, of each dataset in the block of steps around ``step``."""
        depth = DEPTH if self.crops_per_decode > 1 else 1
        first = step // (depth * self.crops_per_decode) * depth * self.global_batch_size
        both = turns(self._shares, first), turns(self._shares, first + depth * self.global_batch_size)
        return list(zip(*both, strict=True))

    def _shards_between(self, part: int, begin: int, end: int) -> set[int]:
        """Return the shards of the windows that hold turns ``begin`` to ``end`` - 1 of a dataset's stream."""
        found: set[int] = set()
        while begin < end and len(found) < len(self.parts[part].shards):
            _, order, number = self._place(part, begin)
            found.update(order.shards[number * self.shuffle_shards : (number + 1) * self.shuffle_shards])
            begin = self._window_end(part, begin)
        return found

    def _window_end(self, part: int, turn: int) -> int:
        """Return the first turn after the window that holds ``turn``."""
        epoch, order, number = self._place(part, turn)
        return epoch * self.parts[part].count + order.starts[number + 1]

    def _place(self, part: int, turn: int) -> tuple[int, _ShardOrder, int]:
        """Return the epoch, the order of its shards and the number of the window that hold a turn of a dataset's stream."""
        epoch, offset = divmod(turn, self.parts[part].count)
        order = _shard_order(self.seed, part, epoch, self.parts[part], self.shuffle_shards)
        return epoch, order, bisect_right(order.starts, offset) - 1

    @cached_property
    def _shares(self) -> tuple[int, ...]:
        return shares(self.parts)

    @cached_property
    def _firsts(self) -> list[int]:
        """The number of each dataset's first pair."""
        return [sum(part.count for part in self.parts[:number]) for number in range(len(self.parts))]


def local_batch_size(global_batch_size: int, world: int) -> int:
    """Return the samples of a global batch per worker. Raises ConfigError if they do not divide evenly."""
    if global_batch_size < 1 or world < 1 or global_batch_size % world:
        raise ConfigError(
            f"train.global_batch_size: {global_batch_size} does not divide among {world} workers; "
            f"choose a multiple of {world} or set RDMC_WORKERS to a divisor of {global_batch_size}"
        )
    return global_batch_size // world


def rank_slots(global_batch_size: int, rank: int = 0, world: int = 1) -> range:
    """Return the slots of every step's batch that belong to ``rank``."""
    size = local_batch_size(global_batch_size, world)
    return range(rank * size, (rank + 1) * size)


def split_slots(slots: range, number: int, of: int) -> range:
    """Return the ``number``-th of ``of`` runs of ``slots``, one loader process's part. Lengths differ by at most one."""
    return slots[len(slots) * number // of : len(slots) * (number + 1) // of]


def shares(parts: Sequence[Part]) -> tuple[int, ...]:
    """Return whole numbers in proportion to pairs times weight; with weights of 1, the numbers of pairs."""
    exact = [part.count * Fraction(str(part.weight)) for part in parts]
    scale = lcm(*(share.denominator for share in exact))
    return tuple(int(share * scale) for share in exact)


def turns(shared: Iterable[int], position: int) -> list[int]:
    """Return how many of the first ``position`` places of a mixture each dataset has, by integer arithmetic.

    The first dataset has its share rounded down, the next one its share of the rest, and so on. The numbers never fall as
    ``position`` grows, they add up to it, and they are exact after every sum(shares) places.
    """
    left, found, weights = position, [], list(shared)
    for number, weight in enumerate(weights):
        taken = left * weight // (sum(weights[number:]) or 1)
        found.append(taken)
        left -= taken
    return found


def mixed(shared: Sequence[int], position: int) -> tuple[int, int]:
    """Return the dataset at a place of the mixture, and the number of its turn there, from 0."""
    before, after = turns(shared, position), turns(shared, position + 1)
    part = next(number for number, turn in enumerate(before) if after[number] > turn)
    return part, before[part]


def crop_generator(seed: int, draw: Draw) -> np.random.Generator:
    """Return the random numbers for one crop, keyed by seed, epoch, pair and number of the crop."""
    return np.random.default_rng((seed, CROP, draw.epoch, draw.sample, draw.crop))


def patch_generator(seed: int, position: int) -> np.random.Generator:
    """Return the random numbers for the contrastive prior's patches of the crop at one position of the stream."""
    return np.random.default_rng((seed, PATCH, position))


def rank_indices(count: int, rank: int, world: int) -> range:
    """Return the samples that ``rank`` validates; over all ranks each sample comes exactly once."""
    return range(rank, count, world)


@dataclass(frozen=True)
class _ShardOrder:
    shards: list[int]
    starts: list[int]
    """The turn in the epoch at which each window starts, and at which the last one ends."""


@lru_cache(maxsize=64)
def _shard_order(seed: int, part: int, epoch: int, of: Part, window: int) -> _ShardOrder:
    """Return the order of a dataset's shards in an epoch."""
    shards = np.random.default_rng((seed, ORDER, part, epoch)).permutation(len(of.shards))
    ends = np.cumsum(np.asarray(of.shards)[shards])
    starts = [0, *ends[window - 1 : -1 : window].tolist(), int(ends[-1])]
    return _ShardOrder(shards.tolist(), starts)


@lru_cache(maxsize=64)
def _window_order(seed: int, part: int, epoch: int, number: int, of: Part, window: int) -> Indices:
    """Return the pairs of a window of shards, numbered within their dataset, in the order of an epoch."""
    shards = _shard_order(seed, part, epoch, of, window).shards[number * window : (number + 1) * window]
    pairs = np.concatenate([np.arange(of.firsts[shard], of.firsts[shard] + of.shards[shard]) for shard in shards])
    return np.random.default_rng((seed, WINDOW, part, epoch, number)).permutation(pairs)


@lru_cache(maxsize=4)
def _rounds(seed: int, block: int, crops: int, slots: int) -> Indices:
    """Return (crops, slots, DEPTH): the order in which a slot goes through the pairs it holds, once for each crop."""
    places = np.broadcast_to(np.arange(DEPTH), (crops, slots, DEPTH))
    return np.random.default_rng((seed, ROUND, block)).permuted(places, axis=2)
