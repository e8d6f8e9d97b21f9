"""Networks by their config: built, read back from JSON, and refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch

from rdmc.errors import ConfigError
from rdmc.models.baselines import PReNet, PReNetConfig, UNet, UNetConfig
from rdmc.models.factory import NetworkConfig, build, config_of
from rdmc.models.rdmc import CONNECTIONS, RDMC, RDMCConfig

CONFIGS: list[tuple[NetworkConfig, type]] = [
    (RDMCConfig(width=2, passes=1, dilations=(1, 4), connections=CONNECTIONS[:2], upsample="bicubic"), RDMC),
    (PReNetConfig(width=3, passes=2), PReNet),
    (UNetConfig(width=2, stem=4), UNet),
]


@pytest.mark.parametrize(("config", "kind"), CONFIGS)
def test_a_config_builds_its_network_from_torchs_generator(config: NetworkConfig, kind: type) -> None:
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(build(config))
    assert type(networks[0]) is kind
    assert networks[0].config is config
    one, same, other = (torch.cat([weight.flatten() for weight in network.parameters()]) for network in networks)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("config", [config for config, _ in CONFIGS])
def test_a_config_comes_back_from_json(config: NetworkConfig) -> None:
    found = config_of(json.loads(json.dumps(asdict(config))))
    assert found == config
    assert type(found) is type(config)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"kind": "resnet"}, ConfigError, r"^network\.kind: 'resnet' is not one of rdmc, prenet, unet; choose one of them$"),
        ({"kind": None}, ConfigError, r"^network\.kind: None is not one of"),
        ({}, KeyError, "kind"),
        ({"kind": "unet", "depth": 3}, TypeError, "depth"),
        ({"kind": "unet", "stem": 3}, ConfigError, r"^network\.unet\.stem: 3 is not one of"),
    ],
)
def test_another_config_is_refused(data: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        config_of(data)
