"""Whole images: sizes, tiles and seams, rounding, and networks that fail."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import CheckpointError, DataError
from rdmc.inference import ALIGN, OVERLAP, derain_image, derain_images, derain_values, spans
from rdmc.models.rdmc import RDMC, RDMCConfig

Image = NDArray[np.uint8]


class Apply(nn.Module):
    """A network that is a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def photo(height: int, width: int) -> Image:
    rng = np.random.default_rng(height * width)
    return np.asarray(cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), (9, 9), 3), np.uint8)


@pytest.fixture(scope="module")
def network() -> RDMC:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RDMC(RDMCConfig(width=2, passes=2, stem=2)).eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 65), (300, 270), (259, 700)])
def test_identity_at_any_size_and_tiling(size: tuple[int, int]) -> None:
    image = photo(*size)
    assert np.array_equal(derain_image(nn.Identity(), image, tile=256), image)


@pytest.mark.parametrize("size", [(33, 65), (259, 700)])
def test_values_are_what_is_rounded_to_levels(size: tuple[int, int]) -> None:
    brighter = Apply(lambda x: x * 1.3 - 0.1)
    values = derain_values(brighter, photo(*size), tile=256)
    assert values.dtype == np.float32
    assert 0 <= float(values.min()) <= float(values.max()) <= 1
    assert np.array_equal(np.rint(values * 255).astype(np.uint8), derain_image(brighter, photo(*size), tile=256))


def test_tiles_equal_the_whole_where_the_network_sees_little() -> None:
    """A 65x65 mean: each pixel sees 32 px around it, less than half the overlap."""
    mean = partial(F.avg_pool2d, count_include_pad=False)
    local = Apply(lambda x: mean(mean(x, (65, 1), 1, (32, 0)), (1, 65), 1, (0, 32)))
    image = photo(500, 430)
    whole, tiled = derain_image(local, image), derain_image(local, image, tile=256)
    off = np.abs(whole.astype(int) - tiled)
    inside = spans(500, 256)[0][1] - OVERLAP
    assert off[:inside, :inside].max() <= 1, "a tile's own pixels"
    assert off.max() <= 3, "the blend of two"


def test_no_seam_where_tiles_disagree() -> None:
    """The network adds another value to each tile: the blend changes slowly from one to the next."""
    shift = Apply(lambda x: 0.5 + 0 * x + (0.2 if x.shape[-1] == 256 else -0.2))
    image = np.zeros((64, 300, 3), np.uint8)
    row = derain_image(shift, image, tile=256)[0, :, 0].astype(int)
    assert row[0] - row[-1] == pytest.approx(0.4 * 255, abs=2)
    assert np.abs(np.diff(row)).max() <= 2


def test_rdmc_tiled_is_nearly_rdmc_whole(network: RDMC) -> None:
    image = photo(420, 500)
    off = np.abs(derain_image(network, image).astype(int) - derain_image(network, image, tile=320))
    assert off.mean() < 0.05
    assert off.max() <= 4


@pytest.mark.parametrize("tile", [64, 256, 320, 1000, 1024])
@pytest.mark.parametrize("length", [1, 64, 256, 257, 384, 385, 1024, 1025, 5000])
def test_spans_cover_a_side(length: int, tile: int) -> None:
    places = spans(length, tile)
    assert places[0][0] == 0
    assert places[-1][1] == length
    assert all(before[1] - after[0] == OVERLAP for before, after in pairwise(places))
    assert all(start % ALIGN == 0 and end - start <= max(tile, 256) for start, end in places)
    assert all(before[1] <= after[0] for before, after in zip(places, places[2:], strict=False)), "two tiles at most share"


def test_rounded_to_the_nearest_and_clamped() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    assert np.unique(derain_image(Apply(lambda x: x + 0.6 / 255), image)) == [101]
    assert np.unique(derain_image(Apply(lambda x: x + 0.4 / 255), image)) == [100]
    assert np.unique(derain_image(Apply(lambda x: x - 1), image)) == [0]
    assert np.unique(derain_image(Apply(lambda x: x + 1), image)) == [255]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(CheckpointError, match="not finite"):
        derain_image(Apply(lambda x: x + value), photo(16, 16))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_an_array_that_is_not_an_image_is_refused(image: Image) -> None:
    with pytest.raises(DataError, match="uint8"):
        derain_image(nn.Identity(), image)


def test_views_and_gradients(network: RDMC) -> None:
    """A mirrored (negatively strided) view works, and nothing is left in the autograd graph."""
    image = photo(40, 52)
    assert np.array_equal(derain_image(network, image[:, ::-1]), derain_image(network, image[:, ::-1].copy()))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_read_only_image_is_read_and_not_written(network: RDMC) -> None:
    image = photo(40, 50)
    expected = derain_image(network, image)
    image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns once a process of an array that it could write to
        torch.set_warn_always(True)
        try:
            assert np.array_equal(derain_image(network, image), expected)
            assert all(np.array_equal(one, expected) for one in derain_images(network, [image, image]))
        finally:
            torch.set_warn_always(False)


@pytest.mark.parametrize(("size", "tiles"), [((200, 250), 1), ((600, 300), 4 * 2), ((256, 600), 4)])
def test_each_tile_is_followed(size: tuple[int, int], tiles: int) -> None:
    shares: list[float] = []
    derain_image(Apply(lambda x: x), photo(*size), 256, follow=shares.append)
    assert len(shares) == tiles
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("tile", [256, 1024])
def test_images_of_mixed_shapes_are_derained_as_if_alone(network: RDMC, tile: int) -> None:
    """Up to one level: convolutions of several images round in another order."""
    shapes = [(40, 52), (300, 20), (40, 52), (52, 40), (300, 20), (40, 52), (9, 7)]
    images = [np.roll(photo(*shape), number, axis=1) for number, shape in enumerate(shapes)]
    found = derain_images(network, images, tile)
    assert [image.shape for image in found] == [image.shape for image in images]
    for one, image in zip(found, images, strict=True):
        assert np.abs(one.astype(int) - derain_image(network, image, tile)).max() <= 1


def test_a_shared_pass_holds_at_most_the_pixels_of_a_tile() -> None:
    seen: list[tuple[int, ...]] = []

    def noted(x: Tensor) -> Tensor:
        seen.append(tuple(x.shape))
        return x

    images = [photo(200, 100)] * 7 + [photo(300, 10)] * 2
    found = derain_images(Apply(noted), images, 256)
    assert all(np.array_equal(one, image) for one, image in zip(found, images, strict=True))
    assert seen[:3] == [(3, 3, 200, 100), (3, 3, 200, 100), (1, 3, 200, 100)]
    assert all(number == 1 for number, *_ in seen[3:]), "large ones go in tiles, each alone"


def test_the_choice_of_algorithms_comes_back_when_the_last_thread_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    both, image = threading.Barrier(2, timeout=60), np.zeros((8, 8, 3), np.uint8)

    class Meets(nn.Module):
        """Returns its input, once two threads are inside."""

        def forward(self, rainy: Tensor) -> Tensor:
            both.wait()
            seen.append(torch.backends.cudnn.benchmark)
            both.wait()
            return rainy

    seen = list[bool]()
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(derain_image, Meets(), image) for _ in range(2))
        assert np.array_equal(first.result(), second.result())
    assert seen == [False, False]
    assert torch.backends.cudnn.benchmark
