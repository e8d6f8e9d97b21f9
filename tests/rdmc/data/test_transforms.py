from collections.abc import Callable

import numpy as np
import pytest
import torch

from rdmc.data.images import Image
from rdmc.data.transforms import crop_pair, extend, to_tensor, to_unit

Picture = Callable[..., Image]


def test_both_images_get_the_same_window_somewhere_in_the_image(picture: Picture) -> None:
    image = picture(20, 30)
    windows = {image[t : t + 8, x : x + 8].tobytes() for t in range(13) for x in range(23)}
    mirrored = {image[t : t + 8, x : x + 8][:, ::-1].tobytes() for t in range(13) for x in range(23)}
    found = []
    for seed in range(60):
        rainy, clean = crop_pair(image, image, 8, np.random.default_rng(seed))
        assert np.array_equal(rainy, clean)
        found.append(rainy.tobytes())
    assert all((crop in windows) != (crop in mirrored) for crop in found)
    assert 15 < sum(crop in mirrored for crop in found) < 45
    assert len(set(found)) > 40


def test_a_crop_of_the_whole_image_is_possible(picture: Picture) -> None:
    rainy, _ = crop_pair(picture(16, 16), picture(16, 16), 16, np.random.default_rng(0))
    assert rainy.shape == (16, 16, 3)


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (40, 5), (16, 3)])
def test_an_image_smaller_than_the_crop_is_mirrored_up_to_it(shape: tuple[int, int], picture: Picture) -> None:
    image = picture(*shape)
    extended = extend(image, 24)
    assert extended.shape == (max(shape[0], 24), max(shape[1], 24), 3)
    assert np.array_equal(extended[: shape[0], : shape[1]], image)
    assert crop_pair(image, image, 24, np.random.default_rng(0))[0].shape == (24, 24, 3)


def test_tensor_is_channels_first_and_floats_are_between_0_and_1(picture: Picture) -> None:
    images = np.stack([picture(4, 6, 1), picture(4, 6, 2)])
    tensor = to_tensor(images)
    assert (tensor.dtype, tensor.shape) == (torch.uint8, (2, 3, 4, 6))
    unit = to_unit(tensor)
    assert (unit.dtype, unit.shape) == (torch.float32, (2, 3, 4, 6))
    assert unit.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(unit, torch.tensor(images.copy()).permute(0, 3, 1, 2) / 255)
    assert to_unit(to_tensor(np.full((1, 1, 1, 3), 255, np.uint8))).max() == 1
