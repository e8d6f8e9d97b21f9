from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmc.data import sampling as module
from rdmc.data.sampling import (
    DEPTH,
    Draw,
    Part,
    Sampling,
    crop_generator,
    local_batch_size,
    mixed,
    rank_indices,
    rank_slots,
    shares,
    split_slots,
)
from rdmc.errors import ConfigError

WORLDS = [1, 2, 3, 4, 6, 12]
PARTS = (Part((7, 5, 9, 4)), Part((4,) * 10), Part((3,)))
COUNT = 25 + 40 + 3


def stream(plan: Sampling, first: int, count: int) -> list[Draw]:
    """Return ``count`` crops from position ``first`` on."""
    return [plan.draw(*divmod(position, plan.global_batch_size)) for position in range(first, first + count)]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("loaders", [1, 2, 5])
def test_slots_of_all_ranks_and_processes_make_the_batch(world: int, loaders: int) -> None:
    ranks = [rank_slots(12, rank, world) for rank in range(world)]
    assert list(chain(*(split_slots(slots, i, loaders) for slots in ranks for i in range(loaders)))) == list(range(12))
    assert len({len(slots) for slots in ranks}) == 1


@pytest.mark.parametrize("batch", [1, 4, 12])
@pytest.mark.parametrize("window", [1, 3, 99])
def test_each_epoch_has_every_pair_once_in_a_separate_order(batch: int, window: int) -> None:
    plan = Sampling(3, PARTS, batch, shuffle_shards=window)
    epochs = [[draw.sample for draw in stream(plan, epoch * COUNT, COUNT)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [draw.epoch for draw in stream(plan, 2 * COUNT, COUNT)] == [2] * COUNT


@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.integers(0, 10**9),
    crops=st.integers(1, 9),
    window=st.integers(1, 12),
)
@settings(max_examples=40, deadline=None)
def test_a_step_does_not_depend_on_what_came_before(seed: int, step: int, crops: int, window: int) -> None:
    plan = Sampling(seed, PARTS, 4, crops, window)
    expected = [plan.draw(step, slot) for slot in range(4)]
    for cached in (module._shard_order, module._window_order, module._rounds):
        cached.cache_clear()
    again = replace(plan, parts=tuple(Part(part.shards) for part in PARTS))
    for earlier in range(step, max(step - 3, -1), -1):  # backwards, unlike a training
        assert all(again.draw(earlier, slot) == plan.draw(earlier, slot) for slot in range(4))
    assert [again.draw(step, slot) for slot in range(4)] == expected


@pytest.mark.parametrize("crops", [2, 5])
def test_a_pair_gives_all_its_crops_in_its_slot_and_batches_hold_different_pairs(crops: int) -> None:
    plan = Sampling(1, PARTS, 4, crops)
    block = DEPTH * crops
    steps = [[plan.draw(step, slot) for slot in range(4)] for step in range(3 * block)]
    homes = defaultdict(set)
    for step, draws in enumerate(steps):
        assert len({(draw.sample, draw.epoch) for draw in draws}) == 4
        for slot, draw in enumerate(draws):
            homes[draw.sample, draw.epoch].add((slot, step // block, draw.crop))
    for found in homes.values():
        assert len({home[:2] for home in found}) == 1  # one slot, within one block of steps
        assert {crop for *_, crop in found} == set(range(crops))
    assert Counter(draw.crop for draw in chain(*steps)) == dict.fromkeys(range(crops), 3 * 4 * DEPTH)
    assert [{draw.sample for draw in steps[i]} for i in range(DEPTH)] != [
        {d.sample for d in steps[i]} for i in range(DEPTH, 16)
    ]


def test_weights_are_kept_at_every_point_of_the_stream() -> None:
    parts = (Part((10,) * 5, 0.5), Part((7, 23)), Part((2,), 20.0))
    share = [Fraction(25, 95), Fraction(30, 95), Fraction(40, 95)]
    counts = [0, 0, 0]
    for position in range(400):
        part, turn = mixed(shares(parts), position)
        assert turn == counts[part]
        counts[part] += 1
        assert all(abs(count - (position + 1) * s) < 2 for count, s in zip(counts, share, strict=True))
    plan = Sampling(0, parts, 5)
    drawn = Counter(draw.sample for draw in stream(plan, 0, 2 * 95))
    assert {drawn[i] for i in range(50)} == {1}
    assert {drawn[i] for i in range(50, 80)} == {2}
    assert {drawn[i] for i in (80, 81)} == {40}


def test_empty_datasets_are_skipped() -> None:
    plan = Sampling(0, (Part(()), Part((3, 4)), Part(())), 7)
    assert sorted(draw.sample for draw in stream(plan, 7, 7)) == list(range(7))


@pytest.mark.parametrize(("window", "crops"), [(2, 1), (4, 1), (4, 3)])
def test_few_shards_are_needed_at_once(window: int, crops: int) -> None:
    """Measured by the first and last draw from each shard, over one epoch of one dataset."""
    sizes = tuple(20 + i % 7 for i in range(40))
    shard_of = np.repeat(np.arange(40), sizes)
    plan = Sampling(0, (Part(sizes),), 8, crops, window)
    epoch = islice((plan.draw(step, slot) for step in range(10**6) for slot in range(8)), sum(sizes) * crops)
    places = defaultdict(list)
    for place, draw in enumerate(epoch):
        places[draw.epoch, shard_of[draw.sample]].append(place)
    needed = Counter(step for found in places.values() for step in range(found[0], found[-1] + 1))
    ends = 0 if crops == 1 else window  # held pairs may extend past the end of a window
    assert max(needed.values()) <= window + ends
    assert len(set(needed.values())) > 1


@pytest.mark.parametrize(("crops", "window"), [(1, 2), (3, 5)])
def test_prefetching_names_every_shard_before_it_is_drawn_from(crops: int, window: int) -> None:
    shard_of = [(part, shard) for part, one in enumerate(PARTS) for shard, size in enumerate(one.shards) for _ in range(size)]
    plan = Sampling(5, PARTS, 4, crops, window)
    for step in range(400):
        now = plan.shards_of(step)
        assert {shard_of[plan.draw(step, slot).sample] for slot in range(4)} <= now
        assert plan.shards_of(step + 1) <= now | plan.shards_after(step)
    assert crops > 1 or any(len([part for part, _ in plan.shards_of(step) if part == 1]) == window for step in range(9))


def test_seeds_give_other_orders_and_crops() -> None:
    assert stream(Sampling(0, PARTS, 4), 0, 50) != stream(Sampling(1, PARTS, 4), 0, 50)
    draws = [Draw(sample, epoch, crop) for sample in range(3) for epoch in range(3) for crop in range(3)]
    assert len({crop_generator(seed, draw).random() for seed in range(3) for draw in draws}) == 3 * 27
    assert crop_generator(1, draws[0]).random() == crop_generator(1, Draw(0, 0, 0)).random()


def test_a_million_pairs_need_no_list() -> None:
    """An epoch starts, and a run resumes, from the current windows alone."""
    plan = Sampling(0, (Part((200,) * 5000),), 64, 8)
    module._window_order.cache_clear()
    draws = [plan.draw(step, slot) for step in (0, 10**9) for slot in range(64)]
    assert len({draw.sample for draw in draws}) > 64
    assert module._window_order.cache_info().currsize <= 4


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_validation_sees_each_sample_once(world: int, count: int) -> None:
    assert sorted(i for rank in range(world) for i in rank_indices(count, rank, world)) == list(range(count))


@pytest.mark.parametrize(("size", "world"), [(8, 3), (2, 4), (0, 1)])
def test_a_batch_that_does_not_divide_is_refused_with_the_numbers(size: int, world: int) -> None:
    with pytest.raises(
        ConfigError, match=f"global_batch_size: {size} does not divide among {world} workers; choose a multiple"
    ):
        local_batch_size(size, world)
