"""The networks that params choose by ``network.kind``: RDMC, and the baselines it has to beat."""

from __future__ import annotations

from typing import Any

from rdmc.errors import ConfigError
from rdmc.models.base import Restorer
from rdmc.models.baselines import PReNet, PReNetConfig, UNet, UNetConfig
from rdmc.models.rdmc import RDMC, RDMCConfig

NetworkConfig = RDMCConfig | PReNetConfig | UNetConfig
_CONFIGS: tuple[type[NetworkConfig], ...] = (RDMCConfig, PReNetConfig, UNetConfig)
_NETWORKS: dict[type, type[Restorer]] = {RDMCConfig: RDMC, PReNetConfig: PReNet, UNetConfig: UNet}


def build(config: NetworkConfig) -> Restorer:
    """Return a network with new random weights, drawn from torch's generator."""
    return _NETWORKS[type(config)](config)


def config_of(data: dict[str, Any]) -> NetworkConfig:
    """Return the config from ``dataclasses.asdict`` after JSON. Raises ConfigError, KeyError or TypeError for anything else."""
    for known in _CONFIGS:
        if data["kind"] == known.kind:
            lists: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
            return known(**lists)
    kinds = ", ".join(known.kind for known in _CONFIGS)
    raise ConfigError(f"network.kind: {data['kind']!r} is not one of {kinds}; choose one of them")
