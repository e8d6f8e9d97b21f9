"""AlexNet and VGG16: every tap against torchvision's layers, both kinds of files, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rdmc.errors import CheckpointError
from rdmc.models.baselines import PReNet, PReNetConfig
from rdmc.quality.backbones import ALEXNET, VGG16, BackboneLayout, load_backbone
from tests.support.loading import random_state_kept
from tests.support.perceptual import WIDTHS, WeightFiles, sequential, torchvision_state

LAYOUTS = (("alex", ALEXNET), ("vgg", VGG16))


@pytest.mark.parametrize(("name", "layout"), LAYOUTS, ids=["alex", "vgg"])
def test_taps_equal_the_layers_of_torchvision(name: str, layout: BackboneLayout, files: WeightFiles) -> None:
    with random_state_kept():
        network = load_backbone(layout, files.alexnet if name == "alex" else files.vgg16)
    image = torch.randn(2, 3, 40, 33, generator=torch.Generator().manual_seed(1))
    expected, x = [], image
    for number, layer in enumerate(list(sequential(name))[: layout.taps[-1] + 1]):
        x = layer(x)
        if number in layout.taps:
            expected.append(x)
    found = network(image)
    assert [tap.shape[1] for tap in found] == list(WIDTHS[name]) == list(layout.widths)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert all(not weight.requires_grad for weight in network.parameters())


def test_safetensors_hold_the_same(files: WeightFiles, tmp_path: Path) -> None:
    save_file(torchvision_state("alex"), tmp_path / "alex.safetensors")
    ours, theirs = (load_backbone(ALEXNET, path) for path in (tmp_path / "alex.safetensors", files.alexnet))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_files_that_are_refused(files: WeightFiles, tmp_path: Path) -> None:
    state = torchvision_state("alex")
    path = tmp_path / "alex.pth"
    broken = {**state, "features.0.bias": torch.full((64,), torch.nan)}
    whole = {**state, "features.0.bias": torch.zeros(64, dtype=torch.int64)}
    for content, message in (
        ({name: one for name, one in state.items() if name != "features.3.bias"}, "missing tensor 'features.3.bias'"),
        ({**state, "features.0.weight": torch.zeros(64, 3, 7, 7)}, r"is \(64, 3, 7, 7\), the network needs \(64, 3, 11, 11\)"),
        (broken, "'features.0.bias' has values that are no finite floats"),
        (whole, "'features.0.bias' has values that are no finite floats"),
        (PReNet(PReNetConfig(width=2)), "holds Python objects, such as a whole model"),
        ([1], "other things than named tensors"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=message) as error:
            load_backbone(ALEXNET, path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
    path.with_suffix(".safetensors").write_bytes(b"no weights")
    for absent, message in (
        (tmp_path / "none.pth", "No such file"),
        (path.with_suffix(".safetensors"), "not weights that can"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_backbone(ALEXNET, absent)
    with pytest.raises(CheckpointError, match="name torchvision's VGG16 weights"):
        load_backbone(VGG16, files.alexnet)
