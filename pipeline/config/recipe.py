"""What a training and its evaluation depend on: the part of params.yaml that ``train``, ``evaluate`` and trials read.

It is separate from the rest, so that a change to the schema of the gate or the sweep does not train again
(docs/decisions/0014). The fields of ``network``, ``loss``, ``train`` and ``search`` are documented with their classes in
``rdmc``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.data import Dataset
from pipeline.config.schema import NAME, Strict, parse
from rdmc.errors import ConfigError
from rdmc.models.baselines import PReNetConfig, UNetConfig
from rdmc.models.factory import NetworkConfig
from rdmc.models.genotype import narrowed, read_genotype
from rdmc.models.rdmc import RDMCConfig
from rdmc.training.config import LossConfig, SearchConfig, TrainConfig


def _free(name: str) -> str:
    if name == "overall":
        raise ValueError("Name should not be that of the metrics over all datasets")
    return name


@dataclass(frozen=True)
class Network(RDMCConfig):
    """Which network is trained, and the shape of each network: RDMC's own fields, then those of the baselines.

    The shapes of the kinds that are not chosen stay in the file. They are checked but unused, so changing ``network.kind`` is
    enough to change the network.
    """

    kind: Literal["rdmc", "prenet", "unet"] = "rdmc"  # type: ignore[assignment]  # a choice here, a name in the configs
    prenet: PReNetConfig = field(default_factory=PReNetConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)

    def chosen(self) -> NetworkConfig:
        """The config of the chosen kind."""
        shape = {own.name: getattr(self, own.name) for own in fields(RDMCConfig) if own.name != "kind"}
        configs: dict[str, NetworkConfig] = {"rdmc": RDMCConfig(**shape), "prenet": self.prenet, "unet": self.unet}
        return configs[self.kind]


class Evaluate(Strict):
    """What ``evaluate`` does with the test images."""

    tile: int = Field(ge=256)
    """Tile side in pixels. Images with a longer side are derained in tiles of this size, so that memory stays bounded."""
    pictures: int = Field(ge=0, le=1000)
    """Number of before/after/error pictures to draw per dataset."""


class Recipe(Strict):
    """The params that decide what is trained and how it is measured."""

    seed: int = Field(ge=0, lt=2**32)
    datasets: dict[Annotated[str, Field(pattern=NAME), AfterValidator(_free)], Dataset] = Field(min_length=1)
    architecture: str = Field(min_length=1)
    """Folder of an architecture, relative to the project's folder. It says which connections of ``network`` are kept, and which
    upsampling is used."""
    network_: Network = Field(alias="network")
    loss: LossConfig
    train: TrainConfig
    search: SearchConfig
    evaluate: Evaluate

    @property
    def network(self) -> NetworkConfig:
        """The config of the network that is trained."""
        return self.network_.chosen()

    @model_validator(mode="after")
    def _levels_exist(self) -> Recipe:
        self.loss.require_levels(self.network.taps)
        return self

    @model_validator(mode="after")
    def _truncation_is_possible(self) -> Recipe:
        if self.loss.recursion == "truncated" and isinstance(self.network, RDMCConfig) and self.network.refine:
            raise ConfigError(
                "loss.recursion: truncated needs whole passes, and network.refine is "
                f"{self.network.refine}; set network.refine: 0, or loss.recursion: unrolled"
            )
        return self

    @model_validator(mode="after")
    def _weights_name_datasets(self) -> Recipe:
        if unknown := self.train.weights.keys() - self.datasets.keys():
            raise ConfigError(
                f"train.weights.{min(unknown)}: is not a dataset ({', '.join(self.datasets)}); fix its name or remove it"
            )
        return self


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def with_overrides(params: AnyRecipe, overrides: Mapping[str, Any]) -> AnyRecipe:
    """``params`` with the dotted ``overrides`` applied, checked like the file. Raises ConfigError."""
    data = params.model_dump(mode="json", by_alias=True)
    for key, value in overrides.items():
        _put(data, key, value)
    return parse(type(params), data, "overrides")


def trial_params(params: AnyRecipe, steps: int, overrides: Mapping[str, Any]) -> AnyRecipe:
    """The params of one short training: ``steps`` steps, a warm-up of at most a tenth of them, then the overrides.

    Raises ConfigError for an invalid override.
    """
    short = {"train.steps": steps, "train.warmup_steps": min(params.train.warmup_steps, steps // 10)}
    return with_overrides(params, {**short, **overrides})


def with_architecture(params: AnyRecipe, project: Path = Path()) -> AnyRecipe:
    """``params`` with ``network`` narrowed to the architecture that they name (``rdmc.models.genotype.narrowed``).

    Raises ConfigError if the folder's genotype cannot be read or does not fit the network.
    """
    chosen = narrowed(params.network, read_genotype(project / params.architecture))
    if chosen == params.network or not isinstance(chosen, RDMCConfig):
        return params
    network = replace(params.network_, connections=chosen.connections, upsample=chosen.upsample)
    return params.model_copy(update={"network_": network})


def fingerprint(params: Recipe, include: Mapping[str, Any], *others: str) -> str:
    """SHA-256 (hex) of the params selected by ``include`` (in pydantic's form), the chosen network and ``others``.

    Equal fingerprints mean equal results, so a stopped run is found again and nothing is trained twice.
    """
    kept = params.model_dump(mode="json", include=dict(include))
    return hashlib.sha256(json.dumps([kept, asdict(params.network), *others], sort_keys=True).encode()).hexdigest()


def flatten(params: Recipe) -> dict[str, Any]:
    """The params as dotted names and plain values, for MLflow and tables. Of ``network``, only the chosen kind's fields."""
    chosen = json.loads(json.dumps(asdict(params.network)))
    return dict(leaves({**params.model_dump(mode="json", by_alias=True), "network": chosen}))


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested dicts by their dotted names. An empty dict below another is a value; alone it has none."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value


def _put(data: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.get(parent) if isinstance(data, dict) else None
    if not isinstance(data, dict) or last not in data:
        raise ConfigError(f"{key}: no such param to override; see params.yaml for the names")
    data[last] = value
