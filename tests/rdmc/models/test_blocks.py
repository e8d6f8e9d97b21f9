"""The blocks of RDMC: shapes, biases and groups, and upsampling against ``F.interpolate``."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import ConfigError
from rdmc.models.base import place
from rdmc.models.blocks import Dilated, DoubleBlock, Downward, Padding, Upsample, Upward, doubling, norm

pytestmark = pytest.mark.usefixtures("one_thread")


def image(*size: int, seed: int = 1) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (7, 1), (8, 1), (15, 1), (20, 2), (24, 3), (35, 1), (48, 6)])
def test_groups_hold_eight_channels_or_more_and_divide_them(channels: int, groups: int) -> None:
    layer = norm("group", channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


def test_other_norms() -> None:
    assert isinstance(norm("none", 3), nn.Identity)
    layer = norm("batch", 3)
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.num_features == 3
    with pytest.raises(ConfigError, match=r"^network\.norm: 'layer' is not one of none, group, batch; choose one of them$"):
        norm("layer", 3)


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize("dilation", [2, 3])
def test_a_dilated_convolution_has_its_gradient_in_bf16_too(dilation: int, padding: Padding) -> None:
    layer = Dilated(24, 8, 3, padding=dilation, dilation=dilation, padding_mode=padding)
    place(layer, "cpu")
    x = image(8, 24, 32, 32).contiguous(memory_format=torch.channels_last)
    exact, rounded = (gradient(layer, x, bf16) for bf16 in (False, True))
    assert ((rounded - exact).norm() / exact.norm()).item() < 0.02


def gradient(layer: nn.Conv2d, x: Tensor, bf16: bool) -> Tensor:
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = (layer(x).float() * image(8, 8, 32, 32, seed=2)).sum()
    loss.backward()
    assert layer.weight.grad is not None
    return layer.weight.grad.clone()


@pytest.mark.parametrize(("kind", "bias"), [("none", True), ("group", False), ("batch", False)])
@pytest.mark.parametrize("dilation", [1, 3])
def test_a_double_block_keeps_the_size_and_dilates_its_second_convolution(kind: str, bias: bool, dilation: int) -> None:
    block = DoubleBlock(2, 5, kind, dilation)
    first, second = (layer for layer in block if isinstance(layer, nn.Conv2d))
    assert (first.dilation, second.dilation) == ((1, 1), (dilation, dilation))
    assert [layer.bias is not None for layer in (first, second)] == [bias, bias], "a norm has a bias already"
    out = block(image(2, 2, 9, 12))
    assert out.shape == (2, 5, 9, 12)
    assert out.min() >= 0


@pytest.mark.parametrize(("stride", "size", "kernel"), [(1, (9, 12), 1), (2, (5, 6), 3)])
def test_a_downward_connection_halves_by_its_stride(stride: int, size: tuple[int, int], kernel: int) -> None:
    block = Downward(2, 4, "none", stride)
    x = image(1, 2, 9, 12)
    assert block(x).shape == (1, 4, *size)
    convolved = block[0](x)
    assert block[0].kernel_size == (kernel, kernel)
    assert torch.allclose(block(x), torch.where(convolved > 0, convolved, 0.2 * convolved))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_an_upward_connection_upsamples_first(scale: int) -> None:
    block, x = Upward(2, 4, "none", scale), image(1, 2, 5, 6)
    larger = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False) if scale > 1 else x
    assert block(x).shape == (1, 4, 5 * scale, 6 * scale)
    assert torch.allclose(block(x), block.block(larger))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 5), (25, 30)])
@pytest.mark.parametrize("mix", [(0.0, 0.0), (3.0, -1.0)])
def test_upsampling_is_a_mix_of_bilinear_and_bicubic(size: tuple[int, int], mix: tuple[float, float]) -> None:
    upsample = Upsample().double()
    with torch.no_grad():
        upsample.mix.copy_(torch.tensor(mix))
    x = image(2, 3, *size).double().requires_grad_()
    smooth, sharp = (F.interpolate(x, scale_factor=2, mode=m, align_corners=False) for m in ("bilinear", "bicubic"))
    weight = torch.tensor(mix, dtype=torch.float64).softmax(0)
    expected = weight[0] * smooth + weight[1] * sharp
    assert torch.allclose(upsample(x), expected, atol=1e-12)
    upstream = torch.rand_like(expected)
    (ours,), (theirs,) = (torch.autograd.grad(y, x, upstream) for y in (upsample(x), expected))
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_both_ways_of_upsampling_have_the_same_gradient_of_the_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    x, upsample = image(2, 3, 7, 10).double(), Upsample().double()
    gradients = []
    for largest in (24, 0):
        monkeypatch.setattr(Upsample, "SMALL", largest)
        gradients.append(torch.autograd.grad(upsample(x).square().sum(), upsample.mix)[0])
    assert gradients[0].abs().max() > 0
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-6)


@pytest.mark.parametrize(("kind", "shares"), [("bilinear", [1.0, 0.0]), ("bicubic", [0.0, 1.0])])
def test_fixed_upsampling_is_that_of_torch_and_learns_nothing(kind: str, shares: list[float]) -> None:
    upsample = Upsample(kind)
    assert upsample.shares().tolist() == shares
    assert list(upsample.parameters()) == []
    assert upsample.state_dict() == {}
    x = image(1, 2, 5, 30)
    assert torch.allclose(upsample(x), F.interpolate(x, scale_factor=2, mode=kind, align_corners=False), atol=1e-5)


def test_a_mix_begins_near_equal_shares_and_learns() -> None:
    torch.manual_seed(0)
    upsample = Upsample()
    assert upsample.shares().sum().item() == pytest.approx(1)
    assert upsample.shares().tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    assert list(upsample.state_dict()) == ["mix"]


@pytest.mark.parametrize("side", [1, 2, 9])
def test_doubling_matrices_keep_a_constant_line(side: int) -> None:
    found = doubling(side, torch.device("cpu"))
    assert found.shape == (2, 2 * side, side)
    assert torch.allclose(found.sum(2), torch.ones(2, 2 * side))
    with torch.inference_mode():
        kept = doubling(side + 100, torch.device("cpu"))
    assert not kept.is_inference(), "kept for training too"
