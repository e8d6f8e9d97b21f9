"""LPIPS against torchmetrics' own code, with random backbones and with the channel weights that it carries."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import lpips as theirs

from rdmc.errors import CheckpointError
from rdmc.quality.backbones import ALEXNET, VGG16, load_backbone
from rdmc.quality.lpips import LPIPS, read_linear
from tests.support.perceptual import WIDTHS, WeightFiles, linear_state, sequential

CARRIED = Path(theirs.__file__).parent / "lpips_models"


def images(height: int = 40, width: int = 51) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    clean = torch.rand(2, 3, height, width, generator=generator)
    return (clean + 0.2 * torch.randn(clean.shape, generator=generator)).clamp(0, 1), clean


def ours(files: WeightFiles, name: str, linear: Path) -> LPIPS:
    layout, weights = read_linear(linear)
    return LPIPS(load_backbone(layout, files.alexnet if name == "alex" else files.vgg16), weights)


@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_equal_to_torchmetrics(name: Literal["alex", "vgg"], files: WeightFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision, which it asks for its backbones, is no dependency: they are handed to it."""
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_: sequential(name))
    reference = theirs._NoTrainLpips(net=name, pnet_rand=True)  # its own channel weights, a backbone of ours
    found = ours(files, name, CARRIED / f"{name}.pth")
    a, b = images()
    expected = reference(a, b, normalize=True).flatten()
    assert float(expected.min()) > 0.01, "the images differ"
    assert torch.allclose(found(a, b), expected, atol=1e-5, rtol=0)
    assert torch.allclose(found(a[:1], a[1:]), reference(a[:1], a[1:], normalize=True).flatten(), atol=1e-5, rtol=0)


def test_equal_images_have_no_distance_and_order_does_not_matter(files: WeightFiles) -> None:
    found = ours(files, "alex", files.alex)
    a, b = images(32, 32)
    assert torch.equal(found(b, b), torch.zeros(2))
    assert torch.allclose(found(a, b), found(b, a), atol=1e-7)
    nearer = b + (a - b) / 4
    assert bool((found(nearer, b) < found(a, b)).all())


@pytest.mark.parametrize(("name", "layout"), [("alex", ALEXNET), ("vgg", VGG16)])
def test_the_backbone_is_known_by_the_channels(name: str, layout: object, tmp_path: Path) -> None:
    state = linear_state(name)
    without_dropout = {key.replace("model.1", "model.0"): tensor for key, tensor in state.items()}
    for content in (state, without_dropout, {"state_dict": state}, {**state, "scaling_layer.shift": torch.zeros(1, 3, 1, 1)}):
        torch.save(content, tmp_path / "lin.pth")
        found, weights = read_linear(tmp_path / "lin.pth")
        assert found is layout
        assert [len(one) for one in weights] == list(WIDTHS[name])
        assert torch.equal(weights[2], state["lin2.model.1.weight"].flatten())


def test_other_channel_weights_are_refused(tmp_path: Path) -> None:
    state, path = linear_state("alex"), tmp_path / "lin.pth"
    for content, message in (
        ({"alpha": torch.zeros(1, 1475, 1, 1)}, "its channel weights are missing"),
        (
            {name: one for name, one in state.items() if "lin4" not in name},
            "its channel weights are .*name alex.pth or vgg.pth",
        ),
        ({**state, "lin0.model.1.weight": torch.zeros(1, 63, 1, 1)}, r"\(1, 63, 1, 1\)"),
        ({**state, "lin0.model.1.weight": torch.full((1, 64, 1, 1), torch.inf)}, "'lin0' has values that are no finite"),
        ({**state, "net": object()}, "holds Python objects|cannot|not weights"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=message) as error:
            read_linear(path)
        assert "\n" not in str(error.value)
