"""RDMC against its published figures, and its properties of size, recursion and connections."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rdmc.errors import ConfigError
from rdmc.models.base import statistics_kept
from rdmc.models.cost import cost
from rdmc.models.rdmc import CONNECTIONS, RDMC, RDMCConfig

SMALL = RDMCConfig(width=2, passes=2, stem=1, norm="none")
pytestmark = pytest.mark.usefixtures("one_thread")


def build(config: RDMCConfig, seed: int = 0) -> RDMC:
    torch.manual_seed(seed)
    return RDMC(config).eval()


def image(*size: int, seed: int = 1) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("connections", "gflop"), [(CONNECTIONS, 31.53), ((), 19.20)])
def test_published_size(connections: tuple[str, ...], gflop: float) -> None:
    found = cost(RDMCConfig(width=32, passes=1, stem=1, norm="batch", connections=connections), 128, 128)
    assert found.gflop == pytest.approx(gflop, abs=0.005)
    if connections:
        assert found.parameters / 1e6 == pytest.approx(19.80, abs=0.005)


def test_recursion_adds_no_weights() -> None:
    once, thrice = build(RDMCConfig(width=2, passes=1)), build(RDMCConfig(width=2, passes=3))
    assert {n: w.shape for n, w in once.state_dict().items()} == {n: w.shape for n, w in thrice.state_dict().items()}


def test_each_pass_adds_a_residual_of_the_last_estimate_to_the_rainy_image() -> None:
    network = build(SMALL)
    rainy = image(1, 3, 32, 32)
    first, second = network.estimates(rainy)
    assert torch.allclose(first, rainy + network.residual(torch.cat([rainy, rainy], 1))[0], atol=1e-6)
    assert torch.allclose(second, rainy + network.residual(torch.cat([rainy, first], 1))[0], atol=1e-6)
    assert torch.equal(network(rainy), second)


@pytest.mark.parametrize(
    ("depth", "kept"),
    [
        (2, {"input->dec1", "enc1->output"}),
        (4, {*CONNECTIONS} - {"enc3->dec4", "enc4->dec3"}),
        (5, {*CONNECTIONS}),
    ],
)
def test_a_shallower_network_has_the_first_levels(depth: int, kept: set[str]) -> None:
    config = RDMCConfig(width=2, depth=depth, passes=1)
    network, whole = build(config), build(RDMCConfig(width=2, passes=1))
    assert set(config.connections) == set(network.recruit) == kept
    assert network(image(1, 3, 17, 24)).shape == (1, 3, 17, 24)
    sizes = [[level.shape for level in each.features(image(1, 3, 32, 48), depth)] for each in (network, whole)]
    assert sizes[0] == sizes[1]
    shapes = {name: weight.shape for name, weight in whole.state_dict().items()}
    encoders = {name: weight.shape for name, weight in network.state_dict().items() if name.startswith("encoders")}
    assert encoders.items() <= shapes.items()
    assert network.head.in_channels == 3  # 1.5 times the width
    assert config.taps == depth


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (1, 1), (5, 40), (64, 50)])
def test_any_size_is_kept(stem: int, size: tuple[int, int]) -> None:
    rainy = image(2, 3, *size)
    derained = build(RDMCConfig(width=2, passes=1, stem=stem))(rainy)
    assert derained.shape == rainy.shape
    assert torch.isfinite(derained).all()


@pytest.mark.parametrize("stem", [1, 2, 4])
def test_features_are_the_encoders_levels(stem: int) -> None:
    network = build(RDMCConfig(width=2, passes=1, stem=stem))
    levels = network.encode(torch.rand(1, 6 * stem**2, 32, 48), 5)
    assert [tuple(level.shape[1:]) for level in levels] == [(6, 32, 48), (12, 16, 24), (24, 8, 12), (48, 4, 6), (48, 2, 3)]


def test_encoders_differ_in_dilation_alone() -> None:
    convolutions = [[m for m in e.modules() if isinstance(m, torch.nn.Conv2d)] for e in build(SMALL).encoders]
    assert [{c.dilation for c in cs[1::2]} for cs in convolutions] == [{(1, 1)}, {(2, 2)}, {(3, 3)}]
    assert {c.dilation for cs in convolutions for c in cs[::2]} == {(1, 1)}
    assert len({tuple(c.weight.shape for c in cs) for cs in convolutions}) == 1


@pytest.mark.parametrize(("encoder", "radius"), [(0, 2), (1, 3), (2, 4)])
def test_receptive_field_of_an_encoder_follows_its_dilation(encoder: int, radius: int) -> None:
    network = build(SMALL)
    block = network.get_submodule(f"encoders.{encoder}.blocks.0")
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.abs_()  # nothing cancels and no ReLU closes
    x = image(1, 6, 15, 15).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x)[0, :, 7, 7].sum(), x)
    rows, columns = gradient.abs().sum((0, 1)).nonzero().unbind(1)
    assert {rows.min().item(), columns.min().item()} == {
        7 - radius
    }  # 1 from the first convolution, the dilation from the second
    assert {rows.max().item(), columns.max().item()} == {7 + radius}


def test_gradients_add_over_the_passes() -> None:
    network = build(SMALL)
    rainy = image(1, 3, 32, 32)
    network(rainy).square().sum().backward()
    own = [build(SMALL), build(SMALL)]  # the same weights, once for each pass
    estimate = rainy
    for copy in own:
        estimate = rainy + copy.residual(torch.cat([rainy, estimate], 1))[0]
    estimate.square().sum().backward()
    for name, parameter in network.named_parameters():
        first, second = (copy.get_parameter(name).grad for copy in own)
        assert parameter.grad is not None
        assert first is not None
        assert second is not None
        assert first.any(), name
        assert second.any(), name
        assert torch.allclose(parameter.grad, first + second, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("first", [0, 4])
def test_truncated_gives_each_image_one_more_earlier_pass_than_the_one_before(first: int) -> None:
    network = build(RDMCConfig(width=2, passes=3, stem=2))
    rainy = image(7, 3, 21, 32)
    every, (found,) = network.estimates(rainy), network.truncated(rainy, first)
    for index in range(7):
        assert torch.allclose(found[index], every[(first + index) % 3][index], atol=1e-6)
    parts = [network.truncated(rainy[:3], first)[0], network.truncated(rainy[3:], first + 3)[0]]  # as on two ranks
    assert torch.allclose(torch.cat(parts), found, atol=1e-6)


def test_truncated_gradients_come_only_from_the_last_pass() -> None:
    network = build(RDMCConfig(width=2, passes=2))
    rainy = image(1, 3, 16, 16)
    network.truncated(rainy, first=1)[0].square().mean().backward()
    truncated = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    earlier = network.estimates(rainy)[0].detach()
    (rainy + network.residual(torch.cat([rainy, earlier], 1))[0]).square().mean().backward()
    for one, other in zip(truncated, network.parameters(), strict=True):
        assert one is not None
        assert other.grad is not None
        assert torch.allclose(one, other.grad, atol=1e-7)


def test_truncated_earlier_passes_leave_no_trace_in_batch_norm() -> None:
    network, other = (build(RDMCConfig(width=2, passes=2, norm="batch")).train() for _ in range(2))
    rainy = image(1, 3, 32, 32)
    network.truncated(rainy, first=1)
    with torch.no_grad(), statistics_kept(other):
        earlier = rainy + other.residual(torch.cat([rainy, rainy], 1))[0]
    other.residual(torch.cat([rainy, earlier], 1))[0]
    measured = dict(other.named_buffers())
    for name, buffer in network.named_buffers():
        assert torch.allclose(buffer, measured[name], atol=1e-5), name


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_recomputed_passes_give_the_same_gradients(norm: str) -> None:
    kept, recomputed = (build(RDMCConfig(width=2, passes=2, norm=norm)).train() for _ in range(2))
    recomputed.recompute = True
    rainy = image(2, 3, 32, 32)
    for network in (kept, recomputed):
        torch.stack(network.estimates(rainy)).square().sum().backward()
    for one, other in zip(kept.parameters(), recomputed.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
    statistics = dict(recomputed.named_buffers())
    for name, buffer in kept.named_buffers():  # measured once
        assert torch.equal(buffer, statistics[name]) or "num_batches" in name


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_connection_reaches_its_target_and_nothing_before_it(name: str) -> None:
    network = build(RDMCConfig(width=2, passes=1))
    given: list[Tensor] = []  # inputs of each decoder and then the head: levels 4, 3, 2, 1
    for part in [*network.decoders, network.head]:
        part.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    rainy = image(1, 3, 32, 32)
    with torch.inference_mode():
        for strength in network.strength.values():
            strength.zero_()
        plain = network(rainy)
        before = [*given, plain]
        given.clear()
        network.strength[name].fill_(0.5)
        after = network(rainy)
    changed = [not torch.equal(a, b) for a, b in zip(before, [*given, after], strict=True)]
    target = name.split("->")[1]
    untouched = 5 if target == "output" else 5 - int(target[3])  # dec4 changes the input of the next decoder
    assert changed == [False] * untouched + [True] * (6 - untouched)


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_connection_changes_the_output_by_its_strength(name: str) -> None:
    network = build(SMALL)
    rainy = image(1, 3, 32, 32)
    with torch.inference_mode():
        for strength in network.strength.values():
            strength.zero_()
        without = network(rainy)
        network.strength[name].fill_(0.5)
        assert not torch.allclose(network(rainy), without, atol=1e-6)


def test_connections_without_strength_equal_removed_ones() -> None:
    whole, cut = build(SMALL), build(RDMCConfig(width=2, passes=2, stem=1, norm="none", connections=()))
    cut.load_state_dict({n: w for n, w in whole.state_dict().items() if n in cut.state_dict()})
    with torch.inference_mode():
        for strength in whole.strength.values():
            strength.zero_()
        assert torch.allclose(whole(image(1, 3, 32, 32)), cut(image(1, 3, 32, 32)))


def test_the_order_in_which_connections_are_listed_does_not_matter() -> None:
    one, other = (build(RDMCConfig(width=2, connections=names)) for names in (CONNECTIONS, CONNECTIONS[::-1]))
    assert torch.equal(one(image(1, 3, 16, 16)), other(image(1, 3, 16, 16)))


def test_every_weight_learns() -> None:
    network = build(RDMCConfig(width=2, passes=2)).train()
    weights = dict(network.named_parameters())
    gradients = torch.autograd.grad(torch.stack(network.estimates(image(2, 3, 64, 64))).square().mean(), list(weights.values()))
    assert [name for name, gradient in zip(weights, gradients, strict=True) if not gradient.any()] == []


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
def test_the_seed_fixes_weights_and_output(norm: str) -> None:
    config = RDMCConfig(width=4, passes=2, norm=norm)
    one, other, another = build(config, 3), build(config, 3), build(config, 4)
    rainy = image(1, 3, 24, 24)
    assert torch.equal(one(rainy), other(rainy))
    assert not torch.equal(one(rainy), another(rainy))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "network.width: 0 is below 1"),
        ({"passes": -1}, "network.passes: -1 is below 1"),
        ({"form": "dense"}, "network.form: 'dense' is not one of separate, mixed"),
        ({"form": "mixed", "width": 2}, "network.width: 2 has no channel for each of the 3 dilations"),
        ({"refine": 5}, "network.refine: 5 is not within 0 to 4"),
        ({"stem": 3}, "network.stem: 3 is not one of 1, 2, 4"),
        ({"depth": 6}, "network.depth: 6 is not within 2 to 5"),
        ({"norm": "layer"}, "network.norm: 'layer' is not one of none, group, batch"),
        ({"dilations": ()}, "network.dilations: [] is not a list of dilations"),
        ({"dilations": (1, 0)}, "network.dilations: [1, 0] is not a list of dilations"),
        ({"upsample": "nearest"}, "network.upsample: 'nearest' is not one of mix, bilinear, bicubic"),
        ({"connections": ("enc9->dec1",)}, "network.connections: 'enc9->dec1' is not a connection"),
    ],
)
def test_a_wrong_config_gives_a_one_line_error(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RDMCConfig(**wrong)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
