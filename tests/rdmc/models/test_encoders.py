"""The encoders of both forms, and the mixed block against a direct computation of its equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.models.encoders import DILATED_GAIN, FIRST_GAIN, GREY, SLOPE, Encoder, MixedBlock, shares
from rdmc.models.rdmc import RDMC, RDMCConfig

pytestmark = pytest.mark.usefixtures("one_thread")
MIXED = RDMCConfig(form="mixed", width=6, depth=4, passes=3)


def build(config: RDMCConfig, seed: int = 0) -> RDMC:
    torch.manual_seed(seed)
    return RDMC(config).eval()


def image(*size: int, seed: int = 1) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def beyond(x: Tensor, pixels: int) -> Tensor:
    """Return (N, C, H, W) with its edge repeated ``pixels`` times on each side."""
    rows = torch.arange(-pixels, x.shape[2] + pixels).clamp(0, x.shape[2] - 1)
    columns = torch.arange(-pixels, x.shape[3] + pixels).clamp(0, x.shape[3] - 1)
    return x[:, :, rows][..., columns]


@pytest.mark.parametrize(("channels", "parts", "expected"), [(24, 3, [8, 8, 8]), (8, 3, [3, 3, 2]), (5, 1, [5])])
def test_shares_add_up_and_differ_by_one_at_most(channels: int, parts: int, expected: list[int]) -> None:
    assert shares(channels, parts) == expected


def test_a_mixed_block_is_its_equations() -> None:
    torch.manual_seed(0)
    block = MixedBlock(4, 7, "none", (1, 2, 3))
    x = image(2, 4, 9, 11)
    dense = F.leaky_relu(F.conv2d(beyond(x, 1), block.dense.weight, block.dense.bias), SLOPE)
    scales = [conv for conv in block.scales if isinstance(conv, nn.Conv2d)]
    parts = [F.conv2d(beyond(dense, d), c.weight, c.bias, dilation=d) for d, c in zip((1, 2, 3), scales, strict=True)]
    assert [part.shape[1] for part in parts] == [3, 2, 2]
    assert torch.allclose(block(x), F.leaky_relu(dense + torch.cat(parts, 1), SLOPE), atol=1e-6)


@pytest.mark.parametrize(("scale", "radius"), [(0, 2), (1, 3), (2, 4)])
def test_each_share_of_a_mixed_block_sees_as_far_as_its_dilation(scale: int, radius: int) -> None:
    block = MixedBlock(3, 6, "none", (1, 2, 3))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.abs_()  # nothing cancels
    x = image(1, 3, 15, 15).requires_grad_()
    own = block(x)[0, 2 * scale : 2 * scale + 2, 7, 7].sum()
    (gradient,) = torch.autograd.grad(own, x)
    rows, columns = gradient.abs().sum((0, 1)).nonzero().unbind(1)
    assert (rows.min().item(), rows.max().item()) == (7 - radius, 7 + radius)
    assert (columns.min().item(), columns.max().item()) == (7 - radius, 7 + radius)


def test_every_scale_of_a_mixed_block_sees_every_channel_of_its_input() -> None:
    block = MixedBlock(5, 6, "none", (1, 2, 3))
    x = image(1, 5, 9, 9).requires_grad_()
    for start in (0, 2, 4):
        (gradient,) = torch.autograd.grad(block(x)[0, start, 4, 4], x)
        assert gradient.abs().sum((0, 2, 3)).all()


def test_the_dilated_convolutions_start_quieter_than_the_dense_one() -> None:
    block = build(RDMCConfig(form="mixed", width=48, depth=2, passes=1)).get_submodule("encoders.0.blocks.1")
    assert isinstance(block, MixedBlock)
    expected = (2 / (1 + SLOPE**2) / (9 * 96)) ** 0.5  # He initialisation for a fan-in of 9 * 96
    for scale in block.scales:
        assert scale.get_parameter("weight").std().item() == pytest.approx(DILATED_GAIN * expected, rel=0.05)


@pytest.mark.parametrize("stem", [1, 2])
def test_the_first_filters_of_the_mixed_form_ignore_even_areas_and_answer_to_edges(stem: int) -> None:
    network = build(RDMCConfig(form="mixed", width=24, depth=2, passes=1, stem=stem))
    first = network.get_submodule("encoders.0.blocks.0.dense")
    even = torch.tensor([0.9, 0.2, 0.5, 0.1, 0.3, 0.7]).repeat_interleave(stem**2)[None, :, None, None].expand(1, -1, 8, 8)
    assert first(even).abs().max() < 1e-5
    expected = FIRST_GAIN * (2 / (1 + SLOPE**2) / (9 * 6 * stem**2)) ** 0.5 * (1 - 1 / (9 * stem**2)) ** 0.5
    assert isinstance(first, nn.Conv2d)
    assert first.weight.std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("form", ["separate", "mixed"])
def test_an_encoder_halves_the_sides_at_each_level(form: str) -> None:
    network = build(RDMCConfig(form=form, width=6, depth=4, passes=1))
    levels = network.encode(torch.rand(1, 6, 32, 48), 3)
    assert [tuple(level.shape[1:]) for level in levels] == [(network.config.encoded[n], 32 >> n, 48 >> n) for n in range(3)]
    assert all(isinstance(encoder, Encoder) for encoder in network.encoders)


def test_all_levels_of_later_passes_are_new_without_refine() -> None:
    network = build(MIXED)
    rainy = image(1, 3, 32, 32)
    first, second, _ = network.estimates(rainy)
    assert torch.allclose(second, rainy + network.residual(torch.cat([rainy - GREY, rainy - first], 1))[0], atol=1e-6)


@pytest.mark.parametrize("refine", [1, 2, 3])
def test_later_passes_with_refine_compute_the_finest_levels_only(refine: int) -> None:
    network = build(RDMCConfig(form="mixed", width=6, depth=4, passes=3, refine=refine))
    blocks = network.get_submodule("encoders.0.blocks")
    calls = [0] * 4
    for level, block in enumerate(blocks.children()):
        block.register_forward_hook(lambda *_, level=level: calls.__setitem__(level, calls[level] + 1))
    network(image(1, 3, 32, 32))
    assert calls == [3] * refine + [1] * (4 - refine)


def test_refining_equals_a_whole_pass_over_the_same_estimate() -> None:
    """The first pass sees the rainy image twice. A later pass that saw the same would give the same residual."""
    network = build(RDMCConfig(form="mixed", width=6, depth=4, passes=2, refine=2))
    x = image(1, 6, 32, 32)
    residual, *coarse = network.residual(x)
    again, *kept = network.residual(x, *coarse)
    assert torch.allclose(again, residual, atol=1e-6)
    assert all(torch.equal(one, other) for one, other in zip(kept, coarse, strict=True))


def test_a_published_config_without_the_newer_fields_is_the_separate_form() -> None:
    config = RDMCConfig(width=4, depth=5, passes=3, stem=1, norm="batch")
    assert (config.form, config.refine, len(build(config).encoders)) == ("separate", 0, 3)
