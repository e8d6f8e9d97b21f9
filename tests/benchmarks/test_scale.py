"""The simulated scale: its shards and keys are those that a real loader opens, and its times follow their rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale_model as model
from pipeline.config.paths import Paths
from rdmc.data.batches import batches, make_batch
from rdmc.data.loader import PairStore, local_shard
from rdmc.data.sampling import Sampling, rank_slots
from rdmc.data.shards import Shard
from tests.support.data import make_dataset
from tests.support.ranks import in_ranks, timed_steps

STEPS, BATCH = 9, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    paths = Paths(tmp_path_factory.mktemp("scale"))
    make_dataset(paths, "light", {"train": 17})
    return paths.shards("light")


def counting(folder: Path) -> tuple[PairStore, set[str]]:
    """A store without a cache of its own, and the names of the shards that it opens."""
    seen: set[str] = set()

    def fetch(place: Path, shard: Shard) -> Path:
        seen.add(shard.name)
        return local_shard(place, shard)

    return PairStore([folder], "train", cache_mb=0, fetch=fetch), seen


def planned(store: PairStore) -> Sampling:
    return Sampling(3, store.parts(), BATCH, shuffle_shards=2)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_shards_of_a_rank_are_those_that_a_real_store_opens(folder: Path, world: int) -> None:
    plan = planned(counting(folder)[0])
    samples, shards = model.order(plan, STEPS), model.shard_of(plan)
    assert len(plan.parts[0].shards) > 3
    for rank in range(world):
        store, seen = counting(folder)
        names = [shard.name for _, shard in store._shards[0]]
        for step in range(STEPS):
            make_batch(store, plan, step, rank_slots(BATCH, rank, world), 32)
        assert {names[number] for number in model.opened(samples, shards, [rank], world)} == seen


@pytest.mark.parametrize("world", [1, 2, 4])
def test_keys_and_fetched_shards_are_those_of_real_batches(folder: Path, world: int) -> None:
    store, seen = counting(folder)
    plan, labels = planned(store), [key for key, _ in store.labels()]
    samples, names = model.order(plan, STEPS), [shard.name for _, shard in store._shards[0]]
    for rank in range(world):
        made = list(batches(store, plan, crop=32, start=0, steps=STEPS, rank=rank, world=world))
        slots = list(rank_slots(BATCH, rank, world))
        assert [batch.keys for batch in made] == [[labels[sample] for sample in row[slots]] for row in samples]
    assert seen <= {names[shard] for _, shard in model.fetched(plan, STEPS)}


def test_waiting_is_the_share_beyond_the_mean() -> None:
    assert model.idle_share(np.array([[1.0, 3.0]])) == pytest.approx(1 / 3)
    assert model.idle_share(np.full((5, 4), 2.0)) == 0
    shares = [model.idle_share(model.step_times(model.Assumed(), 500, world, 0)) for world in (1, 4, 64)]
    assert shares[0] == 0 < shares[1] < shares[2]


@pytest.mark.slow
def test_the_waiting_of_two_real_processes_is_that_of_their_own_times(tmp_path: Path) -> None:
    ranks = in_ranks(2, timed_steps, tmp_path, 200)
    own = np.array([rank["own"] for rank in ranks]).T
    whole = np.array([rank["whole"] for rank in ranks])
    assert abs(model.idle_share(own) - (1 - own.sum() / whole.sum())) < 0.25


def test_a_cache_serves_what_it_can_keep() -> None:
    epochs = [[0, 1], [2, 3], [0, 1], [2, 3]]
    assert model.cache_hits(epochs, 4, first=2) == 1
    assert model.cache_hits(epochs, 4) == 0.5
    assert model.cache_hits(epochs, 3) == 0, "the least recently used one is needed next"
    assert model.cache_hits([[0, 1], [1, 2]], 9) == 0, "a shard of two windows is requested once"


def test_a_checkpoint_waits_only_for_uploads_that_take_longer_than_its_interval() -> None:
    assumed = model.Assumed(save_s=0.1, upload_s=5)
    seldom, often = (model.checkpoint_stall(assumed, interval, 400, 0) for interval in (1000, 1))
    assert seldom[0] == pytest.approx(0.1)
    assert 3 < often[0] < often[1]


def test_a_preemption_loses_half_an_interval_and_what_was_not_uploaded() -> None:
    assumed = model.Assumed(preemptions_per_hour=1, upload_s=0, save_s=0, restart_s=0)
    lost, share = model.preempted(assumed, 1, 100, 1.0, 2000, 0)
    assert 45 < lost < 56
    assert share == pytest.approx(1 - lost / 3600, abs=0.01)
    uploads = model.Assumed(preemptions_per_hour=1, upload_s=60, save_s=0, restart_s=0)
    assert lost + 40 < model.preempted(uploads, 1, 100, 1.0, 2000, 0)[0] < lost + 80
