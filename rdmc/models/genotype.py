"""Genotypes: which of RDMC's connections and which upsampling a network has. Read, written, and derived from a larger network.

A *genotype* is the result of an architecture search (rdmc/training/search.py). The param ``architecture`` names a folder with
its ``genotype.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from rdmc.checkpoint import load_weights
from rdmc.errors import CheckpointError, ConfigError, one_line
from rdmc.models.blocks import MIXES
from rdmc.models.cost import SIDE, Cost, cost
from rdmc.models.factory import NetworkConfig
from rdmc.models.rdmc import CONNECTIONS, RDMC, RDMCConfig

GENOTYPE = "genotype.json"


@dataclass(frozen=True)
class Genotype:
    """An RDMC's connections and upsampling, and the figures of the search that chose them."""

    connections: tuple[str, ...]
    """The cross-level connections of the network, from ``rdmc.models.rdmc.CONNECTIONS``."""
    upsample: str
    """mix, bilinear or bicubic."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """The learned weight of every connection that could be chosen; empty if nothing was trained."""
    mix: Mapping[str, float] = field(default_factory=dict)
    """Shares of bilinear and bicubic in the learned upsampling, which add up to 1; empty if the upsampling was fixed."""
    before: Cost | None = None
    """Cost of the network that was searched, on an image of ``SIDE`` by ``SIDE`` pixels."""
    after: Cost | None = None
    """The same cost for the network with only these connections and this upsampling."""

    def __post_init__(self) -> None:
        if unknown := sorted({*self.connections, *self.strengths} - set(CONNECTIONS)):
            raise ConfigError(f"{unknown[0]!r} is not a connection; choose from {', '.join(CONNECTIONS)}")
        if len(set(self.connections)) != len(self.connections):
            raise ConfigError(f"connections {', '.join(self.connections)} name one twice; name each once")
        if self.upsample not in MIXES:
            raise ConfigError(f"upsample {self.upsample!r} is not one of {', '.join(MIXES)}; choose one of them")
        if unknown := sorted(set(self.mix) - set(MIXES[1:])):
            raise ConfigError(f"mix of {unknown[0]!r}: only {' and '.join(MIXES[1:])} are mixed; remove it")

    def to_json(self) -> str:
        """Return the genotype as JSON that ``from_json`` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def flat(self) -> dict[str, Any]:
        """Return the genotype and its cost as dotted names and plain values, for tables and trackers."""
        costs = {"cost": self.after, "cost.before": self.before}
        return {
            "genotype.connections": list(self.connections),
            "genotype.upsample": self.upsample,
            **{f"{name}.parameters": found.parameters for name, found in costs.items() if found},
            **{f"{name}.gflop_{SIDE}x{SIDE}": round(found.gflop, 4) for name, found in costs.items() if found},
        }

    @classmethod
    def from_json(cls, text: str, source: str) -> Genotype:
        """Read what ``to_json`` writes. Raises ConfigError, one line that begins with ``source``, for anything else."""
        try:
            return _read(json.loads(text, parse_constant=_refuse))
        except (ConfigError, ValueError, TypeError) as error:
            line = one_line(error)
            raise ConfigError(f"{source}: {line}; make it with `make search` or name architectures/full") from None


def read_genotype(folder: Path) -> Genotype:
    """Return the genotype in an architecture's folder. Raises ConfigError if it is missing or damaged."""
    path = folder / GENOTYPE
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        line = "no such file" if isinstance(error, FileNotFoundError) else one_line(error)
        raise ConfigError(f"architecture: {path}: {line}; make it with `make search` or name architectures/full") from None
    return Genotype.from_json(text, f"architecture: {path}")


def genotype_of(network: RDMC, searched: RDMC | None = None) -> Genotype:
    """Return the genotype of ``network`` with its learned strengths, or with those of the ``searched`` network it came from."""
    strengths, mix = learned(searched or network)
    return Genotype(
        connections=tuple(name for name in CONNECTIONS if name in network.config.connections),
        upsample=network.config.upsample,
        strengths=strengths,
        mix=mix,
        before=cost(searched.config) if searched else None,
        after=cost(network.config),
    )


def genotype_for(config: NetworkConfig) -> Genotype | None:
    """Return the genotype of an untrained network of ``config``; None if it is not an RDMC."""
    if not isinstance(config, RDMCConfig):
        return None
    kept = tuple(name for name in CONNECTIONS if name in config.connections)
    return Genotype(kept, config.upsample, after=cost(config))


def learned(network: RDMC) -> tuple[dict[str, float], dict[str, float]]:
    """Return the strength of each connection, and the shares of bilinear and bicubic if they are mixed."""
    strengths = {name: network.strength[name].item() for name in CONNECTIONS if name in network.strength}
    if network.upsample.kind != "mix":
        return strengths, {}
    return strengths, dict(zip(MIXES[1:], network.upsample.shares().tolist(), strict=True))


def narrowed(config: NetworkConfig, genotype: Genotype) -> NetworkConfig:
    """Return ``config`` with only the connections that ``genotype`` names, and with its upsampling instead of the mix.

    The genotype with all eight connections and the mix changes nothing. Raises ConfigError for any other genotype if the
    network is not an RDMC, and if both fix the upsampling to different kinds.
    """
    if not isinstance(config, RDMCConfig):
        if set(genotype.connections) == set(CONNECTIONS) and genotype.upsample == "mix":
            return config
        raise ConfigError(f"architecture: network.kind {config.kind} has no connections to choose; name architectures/full")
    if "mix" not in (config.upsample, genotype.upsample) and config.upsample != genotype.upsample:
        raise ConfigError(
            f"architecture: its upsampling is {genotype.upsample}, network.upsample is {config.upsample}; set that to mix"
        )
    upsample = genotype.upsample if config.upsample == "mix" else config.upsample
    kept = tuple(name for name in config.connections if name in genotype.connections)
    return replace(config, connections=kept, upsample=upsample)


def derive(config: RDMCConfig, weights: Mapping[str, Tensor], keep: int) -> tuple[RDMCConfig, dict[str, Tensor]]:
    """Reduce a network to its ``keep`` strongest connections, by magnitude, and the upsampling with the larger share.

    Returns the smaller network's config and its weights, copied from ``weights``. Of equal strengths the first in
    ``CONNECTIONS`` stays, of equal shares bilinear. Raises ConfigError if there are fewer than ``keep`` connections, and
    CheckpointError if ``weights`` are not exactly those of ``config`` or a strength is not finite.
    """
    if not 0 <= keep <= len(config.connections):
        raise ConfigError(
            f"search.keep: {keep} is not within 0 to the {len(config.connections)} connections of the network; change it"
        )
    with torch.random.fork_rng(devices=[]):
        network = RDMC(config)
        load_weights(network, weights, Path("weights"))
    strengths, mix = learned(network)
    for name, value in {**strengths, **mix}.items():
        if not math.isfinite(value):
            raise CheckpointError(f"weights: the strength of {name} is {value}, which has no rank; search again")
    strongest = sorted(strengths, key=lambda name: (-abs(strengths[name]), CONNECTIONS.index(name)))[:keep]
    upsample = max(mix, key=mix.__getitem__) if mix else config.upsample
    smaller = replace(config, connections=tuple(name for name in CONNECTIONS if name in strongest), upsample=upsample)
    with torch.device("meta"):
        names = list(RDMC(smaller).state_dict())
    return smaller, {name: weights[name] for name in names}


def _read(data: Any) -> Genotype:
    """Return a genotype from plain data. Raises ConfigError, ValueError or TypeError."""
    if not isinstance(data, dict):
        raise TypeError(f"is a {type(data).__name__}, not a map")
    known = [item.name for item in fields(Genotype)]
    if unknown := sorted(set(data) - set(known)):
        raise ConfigError(f"unknown field {unknown[0]!r}, the fields are {', '.join(known)}")
    if missing := [name for name in known[:2] if name not in data]:
        raise ConfigError(f"{missing[0]!r} is missing")
    connections, upsample = data["connections"], data["upsample"]
    if not isinstance(connections, list) or not all(isinstance(name, str) for name in [*connections, upsample]):
        raise TypeError("connections is not a list of names, or upsample not a name")
    return Genotype(
        tuple(connections),
        upsample,
        strengths=_numbers("strengths", data.get("strengths", {})),
        mix=_numbers("mix", data.get("mix", {})),
        before=_cost("before", data.get("before")),
        after=_cost("after", data.get("after")),
    )


def _numbers(name: str, data: Any) -> dict[str, float]:
    if not isinstance(data, dict) or not all(type(value) in (int, float) for value in data.values()):
        raise TypeError(f"{name} is not a map of numbers")
    return {key: float(value) for key, value in data.items()}


def _cost(name: str, data: Any) -> Cost | None:
    if data is None:
        return None
    found = _numbers(name, data)
    if set(found) != {"parameters", "gflop"}:
        raise TypeError(f"{name} is not a map of parameters and gflop")
    return Cost(int(found["parameters"]), found["gflop"])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
