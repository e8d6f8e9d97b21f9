"""Which samples a step trains on: pure arithmetic, the same for any number of workers.

The stream of samples is the permutations of all epochs laid end to end. Step ``s`` takes positions ``s * B`` to
``(s + 1) * B`` of it, B being the global batch; rank ``r`` of ``w`` takes the r-th of w equal slices of those. So a run may
stop anywhere and go on with more or fewer workers, and sees the very same batches: nothing lost, nothing twice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rdmc.errors import ConfigError

Positions = npt.NDArray[np.int64]
ORDER, CROP, PATCH = 1, 2, 3
"""Keep the random streams of one seed apart: the order of an epoch, and what happens to one position of the stream."""


def local_batch_size(global_batch_size: int, world: int) -> int:
    """Samples of a global batch that each worker takes. Raises ConfigError where they do not divide."""
    if global_batch_size < 1 or world < 1 or global_batch_size % world:
        raise ConfigError(
            f"train.global_batch_size: {global_batch_size} does not divide among {world} workers; "
            f"choose a multiple of {world} or set RDMC_WORKERS to a divisor of {global_batch_size}"
        )
    return global_batch_size // world


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> Positions:
    """The permutation of ``range(count)`` in which an epoch goes through the samples (read-only)."""
    order = np.random.default_rng((seed, ORDER, epoch)).permutation(count).astype(np.int64)
    order.setflags(write=False)
    return order


def stream_positions(step: int, global_batch_size: int, rank: int = 0, world: int = 1) -> range:
    """Positions in the stream that ``rank`` takes at ``step``."""
    size = local_batch_size(global_batch_size, world)
    first = step * global_batch_size + rank * size
    return range(first, first + size)


def sample_at(seed: int, position: int, count: int) -> int:
    """The sample, 0 to ``count`` - 1, at a position of the stream."""
    epoch, offset = divmod(position, count)
    return int(epoch_order(seed, epoch, count)[offset])


def batch_indices(seed: int, step: int, count: int, global_batch_size: int, rank: int = 0, world: int = 1) -> list[int]:
    """The samples that ``rank`` takes at ``step``, in order."""
    return [sample_at(seed, position, count) for position in stream_positions(step, global_batch_size, rank, world)]


def crop_generator(seed: int, position: int) -> np.random.Generator:
    """The random numbers for the crop at one position of the stream."""
    return np.random.default_rng((seed, CROP, position))


def patch_generator(seed: int, position: int) -> np.random.Generator:
    """The random numbers for the patches that the contrastive prior compares, of the crop at one position of the stream."""
    return np.random.default_rng((seed, PATCH, position))


def rank_indices(count: int, rank: int, world: int) -> range:
    """The samples that ``rank`` validates: over all ranks each exactly once."""
    return range(rank, count, world)
