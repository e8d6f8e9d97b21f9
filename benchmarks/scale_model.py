"""Arithmetic of a training with many workers: data read, waiting, checkpoints, preemptions. Nothing is trained or waited for.

The order of samples is the project's own (``rdmc.data.sampling``), so shards and keys are exact. Step times, uploads and
preemptions are drawn from a seeded generator, under assumptions that ``Assumed`` names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdmc.data.sampling import Sampling, rank_slots

Numbers = npt.NDArray[np.int64]
UPLOADS = 2
"""Checkpoints that may wait for their upload (``PENDING`` of pipeline/training/ray_train.py)."""


@dataclass(frozen=True)
class Assumed:
    """What the simulation assumes and does not measure."""

    step_s: float = 0.27
    """Median seconds of a worker's step (the default recipe on two cores, docs/benchmarks.md)."""
    spread: float = 0.05
    """Standard deviation of the logarithm of a step's seconds."""
    slow_share: float = 0.001
    """Share of a worker's steps that are slowed, for example by another process."""
    slow_factor: float = 3.0
    """How much longer a slowed step takes."""
    save_s: float = 0.1
    """Seconds to write a checkpoint to the worker's disk; the training waits."""
    upload_s: float = 5.0
    """Mean seconds of an upload, drawn from an exponential distribution; uploads run one after the other."""
    preemptions_per_hour: float = 0.02
    """Preemptions of each worker in an hour."""
    restart_s: float = 40.0
    """Seconds from a preemption to the next step."""


def order(sampling: Sampling, steps: int) -> Numbers:
    """Return the samples of ``steps`` steps, (steps, global batch), as the project draws them."""
    slots = range(sampling.global_batch_size)
    return np.array([[sampling.draw(step, slot).sample for slot in slots] for step in range(steps)], dtype=np.int64)


def shard_of(sampling: Sampling) -> Numbers:
    """Return the number of each sample's shard; the datasets' shards are numbered one dataset after the other."""
    counts = [count for part in sampling.parts for count in part.shards]
    return np.repeat(np.arange(len(counts)), counts)


def opened(samples: Numbers, shards: Numbers, ranks: Iterable[int], world: int) -> set[int]:
    """Return the shards that hold the samples of a node's ``ranks``. ``samples``: (steps, global batch)."""
    columns = [slot for rank in ranks for slot in rank_slots(samples.shape[1], rank, world)]
    return set(np.unique(shards[samples[:, columns]]).tolist())


def fetched(sampling: Sampling, steps: int) -> set[tuple[int, int]]:
    """Return (part, shard) of all that a node downloads in ``steps`` steps: the windows of whole steps and those after them.

    They do not depend on the rank: a loader fetches the windows of a step, not of its slots.
    """
    found: set[tuple[int, int]] = set()
    for step in range(steps):
        found |= sampling.shards_of(step) | sampling.shards_after(step)
    return found


def cache_hits(windows: Sequence[Collection[int]], room: int, first: int = 0) -> float:
    """Return the share of requests that a cache of ``room`` shards serves, from the window ``first`` on.

    A shard is requested when a window needs it and the window before did not. The least recently used one is removed first.
    """
    kept: OrderedDict[int, None] = OrderedDict()
    asked = hits = 0
    before: Collection[int] = ()
    for number, window in enumerate(windows):
        for shard in sorted(set(window) - set(before)):
            if number >= first:
                asked += 1
                hits += shard in kept
            kept[shard] = None
            kept.move_to_end(shard)
            if len(kept) > room:
                kept.popitem(last=False)
        before = window
    return hits / max(asked, 1)


def step_times(assumed: Assumed, steps: int, workers: int, seed: int) -> npt.NDArray[np.float64]:
    """Return drawn seconds of each worker's own work in each step, (steps, workers)."""
    generator = np.random.default_rng((seed, workers))
    drawn = assumed.step_s * np.exp(assumed.spread * generator.standard_normal((steps, workers)))
    return np.where(generator.random(drawn.shape) < assumed.slow_share, assumed.slow_factor * drawn, drawn)


def idle_share(seconds: npt.NDArray[np.float64]) -> float:
    """Return the share of worker-seconds spent waiting for the slowest worker of each step. ``seconds``: (steps, workers)."""
    return float(1 - seconds.mean() / seconds.max(axis=1).mean())


def checkpoint_stall(assumed: Assumed, interval_s: float, count: int, seed: int) -> tuple[float, float]:
    """Return mean seconds that a checkpoint stops the training: with uploads beside it, and if it waited for each upload.

    A new checkpoint waits until fewer than ``UPLOADS`` others are still being uploaded, as the project's workers do.
    """
    uploads = np.random.default_rng((seed, count)).exponential(assumed.upload_s, count)
    now = stalled = 0.0
    ends: list[float] = []
    for upload in uploads:
        now += interval_s
        ready = ends[-UPLOADS] if len(ends) >= UPLOADS else 0.0
        wait = max(0.0, ready - now)
        now += wait + assumed.save_s
        stalled += wait + assumed.save_s
        ends.append(max(now, ends[-1] if ends else 0.0) + float(upload))
    return stalled / count, assumed.save_s + float(uploads.mean())


def preempted(assumed: Assumed, workers: int, interval: int, step_s: float, hours: float, seed: int) -> tuple[float, float]:
    """Return mean steps lost in a preemption, and the share of the time that made steps which count.

    ``interval``: steps between checkpoints, each of which counts once it is uploaded. ``step_s``: seconds of a step of all
    workers. The loss of any worker stops all. Both are means over preemptions drawn for ``hours`` of wall time.
    """
    generator = np.random.default_rng((seed, workers, interval))
    end, rate = 3600 * hours, workers * assumed.preemptions_per_hour / 3600
    now = 0.0
    done = lost = 0
    losses: list[int] = []
    while now < end:
        gap = float(generator.exponential(1 / rate))
        made = int(min(gap, end - now) / step_s)
        now += gap
        if now >= end:
            done += made
            break
        upload = float(generator.exponential(assumed.upload_s)) + assumed.save_s
        safe = max(0, int((made * step_s - upload) / step_s)) // interval * interval
        done += safe
        losses.append(made - safe)
        lost += made - safe
        now += assumed.restart_s
    return (lost / len(losses) if losses else 0.0), done * step_s / end
