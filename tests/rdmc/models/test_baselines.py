"""The baselines: PReNet against an independent version of the published network, and the properties of every network."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config.params import read_params
from rdmc.errors import ConfigError
from rdmc.models.baselines import PReNet, PReNetConfig, UNet, UNetConfig
from rdmc.models.cost import SIDE, cost
from rdmc.models.factory import NetworkConfig, build
from rdmc.training.config import LossConfig
from rdmc.training.losses import Objective
from tests.support.imports import ROOT

SMALL = [PReNetConfig(width=3, passes=2), UNetConfig(width=2, stem=1), UNetConfig(width=2, stem=2)]
IDS = ["prenet", "unet", "unet-stem2"]
pytestmark = pytest.mark.usefixtures("one_thread")


def image(*size: int, seed: int = 1) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def reference(weights: dict[str, Tensor], rainy: Tensor, passes: int) -> list[Tensor]:
    """PReNet as functions of its weights; the four gates as one convolution."""

    def conv(x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    gate_weight, gate_bias = (torch.cat([weights[f"conv_{gate}.0.{part}"] for gate in "ifog"]) for part in ("weight", "bias"))
    width = weights["conv0.0.bias"].numel()
    h = c = torch.zeros(rainy.shape[0], width, *rainy.shape[2:])
    x, found = rainy, []
    for _ in range(passes):
        x = F.relu(conv(torch.cat((rainy, x), 1), "conv0.0"))
        stacked = F.conv2d(torch.cat((x, h), 1), gate_weight, gate_bias, padding=1)
        let_in, keep, let_out = stacked[:, : 3 * width].sigmoid().chunk(3, 1)
        c = keep * c + let_in * stacked[:, 3 * width :].tanh()
        h = let_out * torch.tanh(c)
        x = h
        for block in range(1, 6):
            inner = F.relu(conv(x, f"res_conv{block}.0"))
            x = F.relu(F.relu(conv(inner, f"res_conv{block}.2")) + x)
        x = conv(x, "conv.0") + rainy
        found.append(x)
    return found


def test_prenet_is_the_published_network() -> None:
    torch.manual_seed(0)
    network = PReNet(PReNetConfig(width=4, passes=6))
    rainy = image(2, 3, 17, 23)
    with torch.inference_mode():
        for own, expected in zip(network.estimates(rainy), reference(network.state_dict(), rainy, 6), strict=True):
            assert torch.allclose(own, expected, atol=1e-5)


def test_prenet_has_the_published_size() -> None:
    found = cost(PReNetConfig())
    assert found.parameters == 168_963  # published: 169 k
    assert found.gflop / 2 == pytest.approx(66.25, abs=0.005)  # multiply-adds alone
    config = PReNetConfig()
    rectified = config.width * (1 + 5 * 2)  # output channels of its ReLU layers in a pass
    outputs = config.width * (1 + 4 + 5 * 2) + 3  # output channels of its convolutions, each with a bias
    extra = config.passes * SIDE**2 * (rectified + outputs) / 1e9
    assert round(found.gflop / 2 + extra, 1) == 66.6  # the published count: one a multiply-add, a bias and a ReLU each


def test_the_default_rdmc_costs_less_than_the_unet_that_it_is_compared_with() -> None:
    params = read_params(ROOT / "params.yaml")
    own, unet = cost(params.network), cost(params.network_.unet)
    assert own.gflop < unet.gflop
    assert own.parameters < unet.parameters


def test_passes_share_weights() -> None:
    once, six = (build(PReNetConfig(width=3, passes=passes)) for passes in (1, 6))
    assert {n: w.shape for n, w in once.state_dict().items()} == {n: w.shape for n, w in six.state_dict().items()}
    six.load_state_dict(once.state_dict())
    rainy = image(1, 3, 16, 16)
    assert torch.equal(once(rainy), six.estimates(rainy)[0])
    assert len(six.truncated(rainy)) == 6  # its passes share a state, so they are trained together


def test_prenet_passes_its_state_on() -> None:
    network = build(PReNetConfig(width=3, passes=2))
    rainy = image(1, 3, 16, 16)
    second = network.estimates(rainy)[1]
    with torch.no_grad():
        network.get_parameter("conv_f.0.bias").add_(2.0)  # forgetting acts on the state of earlier passes
    changed = network.estimates(rainy)
    assert not torch.equal(changed[1], second)
    torch.testing.assert_close(changed[0], build_with(network, passes=1)(rainy))


def build_with(network: nn.Module, passes: int) -> nn.Module:
    other = build(PReNetConfig(width=3, passes=passes))
    other.load_state_dict(network.state_dict())
    return other


@pytest.mark.parametrize("config", SMALL, ids=IDS)
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (1, 1), (5, 40)])
def test_any_size_is_kept(config: NetworkConfig, size: tuple[int, int]) -> None:
    rainy = image(2, 3, *size)
    derained = build(config).eval()(rainy)
    assert derained.shape == rainy.shape
    assert torch.isfinite(derained).all()


def test_unet_starts_near_the_rainy_image_and_adds_to_it() -> None:
    torch.manual_seed(0)
    network = UNet(UNetConfig(width=4))
    rainy = image(1, 3, 24, 40)
    with torch.no_grad():
        assert (network(rainy) - rainy).abs().mean() < 0.1
        network.head.weight.zero_()
        network.get_parameter("head.bias").fill_(0.25)
        assert torch.allclose(network(rainy), rainy + 0.25)


@pytest.mark.parametrize("config", SMALL, ids=IDS)
def test_every_weight_learns(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    network = build(config).train()
    torch.stack(network.estimates(image(2, 3, 32, 32))).square().mean().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_recomputed_passes_give_the_same_gradients() -> None:
    networks = []
    for recompute in (False, True):
        torch.manual_seed(0)
        network = build(PReNetConfig(width=3, passes=3)).train()
        network.recompute = recompute
        torch.stack(network.estimates(image(2, 3, 24, 24))).square().sum().backward()
        networks.append(network)
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("config", SMALL, ids=IDS)
def test_the_prior_uses_as_many_levels_as_the_config_states(config: NetworkConfig) -> None:
    network, images = build(config), (image(1, 3, 32, 32), image(1, 3, 32, 32, seed=2))
    assert len(network.features(images[0], config.taps)) == config.taps
    loss = Objective(network, LossConfig(ssim=0, contrastive=1.0, levels=config.taps))(*images)["loss"]
    assert torch.isfinite(loss)
    with pytest.raises(ConfigError, match=f"loss.levels: {config.taps + 1} exceeds"):
        Objective(network, LossConfig(levels=config.taps + 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PReNetConfig(width=0), "network.prenet.width: 0 is below 1"),
        (lambda: PReNetConfig(passes=0), "network.prenet.passes: 0 is below 1"),
        (lambda: UNetConfig(width=-1), "network.unet.width: -1 is below 1"),
        (lambda: UNetConfig(stem=3), "network.unet.stem: 3 is not one of 1, 2, 4"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(make: object, message: str) -> None:
    assert inspect.isfunction(make)
    with pytest.raises(ConfigError, match=message):
        make()
