"""Several images in work at the same time: the outputs of one at a time, places by size, order, and what an error stops."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.evaluation.abreast import MOST, SharedNetwork, in_turn
from rdmc.data.images import Image
from rdmc.errors import CheckpointError
from rdmc.inference import derain_image
from tests.support.comparison import small_network

CPU = torch.device("cpu")


@pytest.fixture
def four_threads() -> Iterator[None]:
    """Four threads of torch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Watched(nn.Module):
    """Returns its input, and remembers how many images it held at once and how many threads each one had."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.inside, self.seen = threading.Lock(), list[int](), list[tuple[list[int], int]]()

    def forward(self, rainy: Tensor) -> Tensor:
        side = rainy.shape[-1]
        with self.lock:
            self.inside.append(side)
            self.seen.append((sorted(self.inside), torch.get_num_threads()))
        time.sleep(0.02)
        with self.lock:
            self.inside.remove(side)
        return rainy


def images(*sides: int) -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in sides]


def test_the_outputs_are_those_of_one_image_at_a_time(four_threads: None) -> None:
    network, given = small_network(), images(40, 56, 72, 40, 88, 64)
    alone = [derain_image(network, image) for image in given]
    shared = SharedNetwork(network, 1024, CPU, len(given))
    assert shared.abreast == 4
    for (derained, seconds), expected in zip(in_turn(shared, given, shared.abreast), alone, strict=True):
        assert np.array_equal(derained, expected)
        assert seconds > 0


def test_images_share_the_threads_and_a_large_one_gets_more_of_them(four_threads: None) -> None:
    network = Watched()
    shared = SharedNetwork(network, 256, CPU, 100)  # a place is a quarter of a tile: 128x128 pixels
    list(in_turn(shared, images(100, 100, 100, 100, 200, 100, 100, 256), shared.abreast))
    assert {threads for inside, threads in network.seen if inside == [256]} == {4}
    assert all(inside == [256] for inside, _ in network.seen if 256 in inside), "it fills the tile alone"
    assert all(sum(side * side for side in inside) <= 256**2 for inside, _ in network.seen)
    assert max(len(inside) for inside, _ in network.seen) > 1
    assert network.seen[0] == ([100], 1)
    assert torch.get_num_threads() == 4


def test_a_shared_processor_counts_by_the_share(four_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", itertools.count().__next__)  # each image takes a second
    shared = SharedNetwork(Watched(), 1024, CPU, 4)
    small, large = images(32, 1024)
    assert shared(small)[1] == 0.25
    assert shared(large)[1] == 1
    assert SharedNetwork(Watched(), 1024, CPU)(small)[1] == 1, "alone"


def test_a_gpu_has_one_image_at_a_time(four_threads: None) -> None:
    shared = SharedNetwork(Watched(), 1024, torch.device("meta"), 4)  # no CPU, and at hand everywhere
    with shared._places(1) as places:
        assert places == shared.abreast == 4


def test_there_are_never_more_places_than_images_or_threads(four_threads: None) -> None:
    assert [SharedNetwork(Watched(), 1024, CPU, count).abreast for count in (0, 1, 3, 1000)] == [1, 1, 3, 4]
    torch.set_num_threads(4 * MOST)
    assert SharedNetwork(Watched(), 1024, CPU, 1000).abreast == MOST


def test_an_error_of_the_network_gives_its_places_back(four_threads: None) -> None:
    class Broken(nn.Module):
        def forward(self, rainy: Tensor) -> Tensor:
            return rainy * torch.nan

    shared = SharedNetwork(Broken(), 1024, CPU, 4)
    for _ in range(3):
        with pytest.raises(CheckpointError, match="not finite"):
            shared(images(1024)[0])


def test_results_come_in_order_and_few_wait() -> None:
    begun = list[int]()

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number

    found = list[int]()
    for number in in_turn(work, iter(range(20)), 3):
        found.append(number)
        assert len(begun) <= len(found) + 6
    assert found == list(range(20))
    assert list(in_turn(work, [], 3)) == []


def test_after_an_error_nothing_more_is_begun() -> None:
    begun = list[int]()

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("two")
        time.sleep(0.005)
        return number

    found = list[int]()
    with pytest.raises(ValueError, match="two"):
        found.extend(in_turn(work, range(1000), 2))
    assert found == [0, 1]
    assert max(begun) < 10
    taken = in_turn(work, range(10, 1000), 2)
    assert next(taken) == 10
    taken.close()
    assert max(begun) < 20
