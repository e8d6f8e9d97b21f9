from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmc.data.sampling import batch_indices, crop_generator, epoch_order, local_batch_size, rank_indices, stream_positions
from rdmc.errors import ConfigError

WORLDS = [1, 2, 3, 4, 6, 12]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("count", [1, 5, 12, 31])
def test_slices_of_all_ranks_make_the_global_batch(world: int, count: int) -> None:
    for step in range(9):
        slices = [batch_indices(7, step, count, 12, rank, world) for rank in range(world)]
        assert list(chain(*slices)) == batch_indices(7, step, count, 12)


@pytest.mark.parametrize("count", [1, 5, 12, 31])
def test_each_epoch_is_a_permutation_of_its_own(count: int) -> None:
    stream = [i for step in range(count) for i in batch_indices(3, step, count, 4)]  # four epochs
    epochs = [stream[i * count : (i + 1) * count] for i in range(4)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert count < 12 or len({tuple(epoch) for epoch in epochs}) == 4


@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), step=st.integers(0, 10_000), before=st.sampled_from(WORLDS))
@settings(max_examples=40, deadline=None)
def test_a_step_does_not_depend_on_what_came_before(seed: int, count: int, step: int, before: int) -> None:
    expected = batch_indices(seed, step, count, 12)
    epoch_order.cache_clear()
    for earlier in range(step, step - 3, -1):  # backwards, as no training goes
        batch_indices(seed, max(earlier, 0), count, 12, 0, before)
    assert batch_indices(seed, step, count, 12) == expected


def test_seeds_give_other_orders_and_crops() -> None:
    assert epoch_order(0, 0, 50).tolist() != epoch_order(1, 0, 50).tolist()
    assert len({crop_generator(seed, position).random() for seed in range(3) for position in range(5)}) == 15
    assert crop_generator(1, 2).random() == crop_generator(1, 2).random()


def test_positions_follow_one_another() -> None:
    assert [*stream_positions(0, 6, 0, 2), *stream_positions(0, 6, 1, 2), *stream_positions(1, 6)] == list(range(12))


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
