"""DISTS against torchmetrics' own code, with a random backbone, random weights and those that it carries."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import dists as theirs

from rdmc.errors import CheckpointError
from rdmc.quality.backbones import VGG16, load_backbone
from rdmc.quality.dists import DISTS, L2Pool, load_dists
from tests.support.perceptual import WeightFiles, dists_state, sequential

CARRIED = Path(theirs.__file__).parent / "dists_models/weights.pt"


@pytest.fixture(scope="module")
def measure(files: WeightFiles) -> DISTS:
    return load_dists(load_backbone(VGG16, files.vgg16, L2Pool), CARRIED)


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    clean = torch.rand(2, 3, 32, 45, generator=generator)
    return (clean + 0.2 * torch.randn(clean.shape, generator=generator)).clamp(0, 1), clean


def reference(weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """torchvision, which it asks for VGG16, is no dependency: the network is handed to it."""
    monkeypatch.setattr(theirs, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(theirs, "VGG16_Weights", SimpleNamespace(DEFAULT=None), raising=False)
    monkeypatch.setattr(theirs, "vgg16", lambda **_: SimpleNamespace(features=sequential("vgg")), raising=False)
    network: nn.Module = theirs.DISTSNetwork(load_weights=False)
    network.load_state_dict(weights, strict=False)
    return network


def test_equal_to_torchmetrics(measure: DISTS, files: WeightFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_dists(load_backbone(VGG16, files.vgg16, L2Pool), files.dists)
    a, b = images()
    for found, weights in ((measure, torch.load(CARRIED, weights_only=True)), (other, dists_state())):
        expected = reference(weights, monkeypatch)(a, b)
        assert float(expected.detach().min()) > 0.001, "the images differ"
        assert torch.allclose(found(a, b), expected, atol=1e-5, rtol=0)


def test_equal_images_have_no_distance_and_nearer_ones_less(measure: DISTS) -> None:
    a, b = images()
    assert torch.allclose(measure(b, b), torch.zeros(2), atol=1e-6)
    assert torch.allclose(measure(a, b), measure(b, a), atol=1e-6)
    assert bool((measure(b + (a - b) / 4, b) < measure(a, b)).all())


def test_the_pooling_is_the_root_of_blurred_squares() -> None:
    x = torch.zeros(1, 2, 5, 6)
    x[0, 0, 2, 2] = 4
    x[0, 1] = 3
    found = L2Pool()(x)
    assert found.shape == (1, 2, 3, 3)
    assert float(found[0, 0, 1, 1]) == pytest.approx(2), "a quarter of its square is in the middle of the window"
    assert float(found[0, 1, 1, 1]) == pytest.approx(3)


def test_other_weights_are_refused(files: WeightFiles, tmp_path: Path) -> None:
    backbone, path = load_backbone(VGG16, files.vgg16, L2Pool), tmp_path / "weights.pt"
    state = dists_state()
    for content, message in (
        ({"alpha": state["alpha"]}, "missing tensor 'beta'.*name weights.pt of DISTS"),
        ({**state, "alpha": torch.zeros(1, 1472, 1, 1)}, r"'alpha' is \(1, 1472, 1, 1\)"),
        ({**state, "beta": torch.full((1, 1475, 1, 1), torch.nan)}, "'beta' has values that are no finite"),
        ({**state, "gamma": torch.zeros(1)}, "unknown tensor 'gamma'"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=message) as error:
            load_dists(backbone, path)
        assert "\n" not in str(error.value)
