"""A batch of images through a network that fails on one of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.serving.replica import derain_each
from rdmc.errors import CheckpointError


class FailsOnBlack(nn.Module):
    """Returns its input, and NaN for a black image."""

    def forward(self, x: Tensor) -> Tensor:
        black = (x == 0).flatten(1).all(1)
        return x + torch.where(black, torch.nan, 0.0)[:, None, None, None]


def test_the_other_images_of_a_batch_succeed() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((20, 30, 3), (20, 30, 3), (9, 8, 3), (20, 30, 3))]
    images[1][:] = 0
    found = derain_each(FailsOnBlack(), images, 256, "cpu")
    assert isinstance(found[1], CheckpointError)
    for index in (0, 2, 3):
        one = found[index]
        assert not isinstance(one, CheckpointError)
        assert np.array_equal(one, images[index])
    assert isinstance(derain_each(FailsOnBlack(), images[1:2], 256, "cpu")[0], CheckpointError)
