"""Costs against arithmetic by hand. Only the network's shape counts."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from rdmc.models.baselines import PReNetConfig, UNetConfig
from rdmc.models.cost import SIDE, Cost, cost
from rdmc.models.factory import NetworkConfig, build
from rdmc.models.rdmc import RDMCConfig


def test_cost_of_a_unet_by_hand() -> None:
    config, pixels = UNetConfig(width=2, stem=1), 32 * 32
    convolutions = [  # inputs, outputs, pixels a side of the kernel, times it is halved
        (3, 2, 3, 0), (2, 2, 3, 0), (2, 4, 3, 1), (4, 4, 3, 1), (4, 8, 3, 2), (8, 8, 3, 2), (8, 16, 3, 3), (16, 16, 3, 3),
        (24, 8, 3, 2), (8, 8, 3, 2), (12, 4, 3, 1), (4, 4, 3, 1), (6, 2, 3, 0), (2, 2, 3, 0), (2, 3, 1, 0),
    ]  # fmt: skip
    found = cost(config, 32, 32)
    assert found.parameters == sum(i * o * k * k + o for i, o, k, _ in convolutions)
    assert found.gflop == pytest.approx(sum(2 * i * o * k * k * pixels / 4**halved for i, o, k, halved in convolutions) / 1e9)


def test_a_cost_is_stated_for_256_by_256_pixels() -> None:
    config = UNetConfig(width=2)
    assert SIDE == 256
    assert cost(config) == cost(config, 256, 256)
    assert cost(config).gflop == pytest.approx(2 * cost(config, 128, 256).gflop)


def test_passes_add_cost_and_no_parameters() -> None:
    for once in (RDMCConfig(width=2, passes=1), PReNetConfig(width=2, passes=1)):
        one, three = cost(once, 32, 32), cost(replace(once, passes=3), 32, 32)
        assert three.parameters == one.parameters
        assert three.gflop == pytest.approx(3 * one.gflop)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_upsampling_is_free_in_every_implementation(size: int) -> None:
    mixed, settled = (cost(RDMCConfig(width=2, passes=1, upsample=kind), size, size) for kind in ("mix", "bilinear"))
    assert mixed.gflop == settled.gflop
    per_pixel = cost(RDMCConfig(width=2, passes=1)).gflop / SIDE**2
    assert mixed.gflop / size**2 == pytest.approx(per_pixel)  # small maps use another implementation


@pytest.mark.parametrize("config", [RDMCConfig(width=2), PReNetConfig(width=2), UNetConfig(width=2)])
def test_computing_a_cost_does_not_change_the_random_state(config: NetworkConfig) -> None:
    torch.manual_seed(3)
    expected = build(config).state_dict()
    torch.manual_seed(3)
    found = cost(config, 20, 30)
    again = build(config)
    assert all(torch.equal(weight, expected[name]) for name, weight in again.state_dict().items())
    assert found.parameters == sum(parameter.numel() for parameter in again.parameters())


def test_a_network_at_work_in_another_thread_is_not_counted() -> None:
    config = RDMCConfig(width=4)
    alone, network, enough = cost(config), build(config), threading.Event()

    def work() -> None:
        with torch.inference_mode():
            while not enough.is_set():
                network(torch.rand(1, 3, 32, 32))

    worker = threading.Thread(target=work)
    worker.start()
    found = {cost(config) for _ in range(5)}
    enough.set()
    worker.join()
    assert found == {alone}


def test_a_cost_is_the_same_in_inference_mode() -> None:
    with torch.inference_mode():
        found = cost(RDMCConfig(width=4))
    assert found == cost(RDMCConfig(width=4))


def test_a_cost_is_shown_with_three_digits() -> None:
    assert str(Cost(1_247_746, 1.132)) == "1.25 M parameters, 1.13 GFLOP"
