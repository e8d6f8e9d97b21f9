"""Measures from a user's files: what each needs, what it gives for images, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rdmc.errors import CheckpointError, ConfigError, DataError
from rdmc.files import file_digest
from rdmc.quality.perceptual import PerceptualFiles, PerceptualMeasure, load_measures
from tests.support.data import scene
from tests.support.perceptual import WeightFiles


def test_the_backbone_follows_from_the_channel_weights(files: WeightFiles) -> None:
    assert load_measures(PerceptualFiles()) == []
    (alex,) = load_measures(PerceptualFiles(lpips=files.alex, alexnet=files.alexnet))
    assert (alex.name, alex.digest) == ("LPIPS-alex", f"{file_digest(files.alex)} {file_digest(files.alexnet)}")
    vgg, dists = load_measures(PerceptualFiles(files.vgg, files.dists, vgg16=files.vgg16))
    assert (vgg.name, dists.name) == ("LPIPS-vgg", "DISTS")
    clean, other = scene(0), scene(1)
    for one in (vgg, dists):
        assert one.measure(clean, clean) == pytest.approx(0, abs=1e-6)
        assert one.measure(other, clean) > 0.01


def test_an_image_is_given_as_rgb_from_0_to_1(files: WeightFiles) -> None:
    seen: list[torch.Tensor] = []

    class Keeps(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            seen.extend((a, b))
            return torch.tensor([0.25])

    image = np.zeros((32, 40, 3), np.uint8)
    image[..., 0] = 255
    assert PerceptualMeasure("own", "", Keeps()).measure(image, image) == 0.25
    assert seen[0].shape == (1, 3, 32, 40)
    assert seen[0].mean((0, 2, 3)).tolist() == [1, 0, 0]


def test_what_is_missing_or_not_used_is_refused(files: WeightFiles, tmp_path: Path) -> None:
    for given, message in (
        (PerceptualFiles(lpips=files.alex), "--lpips .*alex.pth: needs AlexNet; .*--alexnet FILE"),
        (PerceptualFiles(lpips=files.vgg, alexnet=files.alexnet), "needs VGG16; .*--vgg16 FILE"),
        (PerceptualFiles(dists=files.dists), "--dists .*weights.pt: needs VGG16"),
        (PerceptualFiles(vgg16=files.vgg16), "--vgg16 .*: no measure that is named uses it"),
        (PerceptualFiles(files.alex, None, files.alexnet, files.vgg16), "--vgg16 .*: no measure that is named uses it"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_measures(given)
    with pytest.raises(CheckpointError, match="No such file"):
        load_measures(PerceptualFiles(lpips=tmp_path / "none.pth", alexnet=files.alexnet))


def test_images_without_a_figure_are_refused(files: WeightFiles) -> None:
    (alex,) = load_measures(PerceptualFiles(lpips=files.alex, alexnet=files.alexnet))
    small = np.zeros((31, 40, 3), np.uint8)
    with pytest.raises(DataError, match="40x31: LPIPS-alex needs sides of at least 32 pixels"):
        alex.measure(small, small)
    with pytest.raises(DataError, match="a pair has one size"):
        alex.measure(scene(0), scene(0, height=40))

    class Broken(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.tensor([torch.nan])

    with pytest.raises(CheckpointError, match="own is not finite"):
        PerceptualMeasure("own", "", Broken()).measure(scene(0), scene(0))
