"""params.yaml, typed and strict: everything that changes the result, and nothing else.

``read_params`` refuses an unknown key, an ill-typed value or a rule broken with one line such as ``train.lr: …``. The
fields of ``network``, ``loss`` and ``train`` are documented beside their owners in ``rdmc``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.config.data import NAME, Dataset, Leaks, Pack, Prepare, Strict
from pipeline.config.registry import Gate, Register
from pipeline.config.tune import Tune
from rdmc.errors import ConfigError, one_line
from rdmc.models.baselines import PReNetConfig, UNetConfig
from rdmc.models.factory import NetworkConfig
from rdmc.models.genotype import narrowed, read_genotype
from rdmc.models.rdmc import RDMCConfig
from rdmc.training.config import LossConfig, SearchConfig, TrainConfig

TAGS = {"embedded", "folders", "benchmark", "PairFolders", "SideBySide", "Choice", "Uniform", "LogUniform", "Integer", "[key]"}
"""What pydantic adds to the place of a problem, from the third part on."""


def _free(name: str) -> str:
    if name == "overall":
        raise ValueError("Name should not be that of the figures over all datasets")
    return name


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("No seed should stand twice")
    return seeds


@dataclass(frozen=True)
class Network(RDMCConfig):
    """Which network is trained, with the shape of each: RDMC's own fields, and below them those of the baselines.

    A shape stays where it is when another kind is chosen, checked and unused, so that ``network.kind`` alone changes kinds.
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
    """Images with a side longer than this are derained in tiles of it, so that memory stays bounded."""
    pictures: int = Field(ge=0, le=1000)
    """Before/after/error pictures to draw per dataset."""


class Ablation(Strict):
    """What ``ablate`` compares: the recipe with and without its parts, trained alike."""

    steps: int = Field(ge=1)
    """Optimiser steps of every trial."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1), AfterValidator(_distinct)]
    """Each variant is trained once with each: initial weights, order of the samples and crops."""
    concurrent: int = Field(ge=1)
    """Trials at once, with one worker each unless the settings say otherwise."""
    variants: dict[Annotated[str, Field(pattern=NAME)], dict[str, JsonValue]] = Field(min_length=2)
    """Names, and the params that differ (dotted, ``network.passes: 1``). The first is what the others are compared with."""


class Params(Strict):
    """The whole of params.yaml."""

    seed: int = Field(ge=0, lt=2**32)
    datasets: dict[Annotated[str, Field(pattern=NAME), AfterValidator(_free)], Dataset] = Field(min_length=1)
    prepare: Prepare
    leaks: Leaks
    pack: Pack
    architecture: str = Field(min_length=1)
    """Folder of an architecture, relative to the project's: which of ``network``'s connections stay, and which upsampling."""
    network_: Network = Field(alias="network")
    loss: LossConfig
    train: TrainConfig
    search: SearchConfig
    evaluate: Evaluate
    register_: Register = Field(alias="register")
    gate: Gate
    tune: Tune
    ablation: Ablation

    @property
    def network(self) -> NetworkConfig:
        """The config of the network that is trained."""
        return self.network_.chosen()

    @model_validator(mode="after")
    def _levels_exist(self) -> Params:
        self.loss.require_levels(self.network.taps)
        return self

    @model_validator(mode="after")
    def _weights_name_datasets(self) -> Params:
        if unknown := self.train.weights.keys() - self.datasets.keys():
            raise ConfigError(
                f"train.weights.{min(unknown)}: is not a dataset ({', '.join(self.datasets)}); mend its name or remove it"
            )
        return self


def read_params(path: Path = Path("params.yaml")) -> Params:
    """The typed params of a YAML 1.2 file. Raises ConfigError, one line: the key, the value, the rule."""
    try:
        data = YAML(typ="safe", pure=True).load(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; run from the project's folder or name a file with --params") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({one_line(error)}); mend that line") from None
    return parse_params(data, str(path))


def parse_params(data: Any, source: str) -> Params:
    """Validate plain data; ``source`` is named in the error. Raises ConfigError."""
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"is a {type(data).__name__}, not a map of params"
        raise ConfigError(f"{source}: {what}; write the params that pipeline/config/params.py describes")
    try:
        return Params.model_validate_json(json.dumps(data))  # JSON mode: strict, yet a list may be a tuple
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first_problem(error)}") from None
    except (TypeError, ValueError) as error:  # a date, or an anchor inside itself
        raise ConfigError(f"{source}: holds what params cannot ({error}); use numbers, strings, lists and maps") from None


def with_overrides(params: Params, overrides: Mapping[str, Any]) -> Params:
    """``params`` with dotted ``overrides`` put over them, checked like the file. Raises ConfigError."""
    data = params.model_dump(mode="json", by_alias=True)
    for key, value in overrides.items():
        _put(data, key, value)
    return parse_params(data, "overrides")


def trial_params(params: Params, steps: int, overrides: Mapping[str, Any]) -> Params:
    """The params of one short training: ``steps``, a warm-up of at most a tenth of them, then the overrides.

    Raises ConfigError for an override that cannot be used.
    """
    short = {"train.steps": steps, "train.warmup_steps": min(params.train.warmup_steps, steps // 10)}
    return with_overrides(params, {**short, **overrides})


def with_architecture(params: Params, project: Path = Path()) -> Params:
    """``params`` with ``network`` narrowed to what its ``architecture`` names (``rdmc.models.genotype.narrowed``).

    Raises ConfigError where the folder's genotype cannot be read or does not suit the network.
    """
    chosen = narrowed(params.network, read_genotype(project / params.architecture))
    if chosen == params.network or not isinstance(chosen, RDMCConfig):
        return params
    return with_overrides(params, {"network.connections": list(chosen.connections), "network.upsample": chosen.upsample})


def fingerprint(params: Params, include: Mapping[str, Any], *others: str) -> str:
    """SHA-256 (hex) of what ``include`` names of the params (as pydantic does), the chosen network and ``others``.

    What has one fingerprint has one result, so a stopped run is found again and nothing is trained twice.
    """
    kept = params.model_dump(mode="json", include=dict(include))
    return hashlib.sha256(json.dumps([kept, asdict(params.network), *others], sort_keys=True).encode()).hexdigest()


def flatten(params: Params) -> dict[str, Any]:
    """Dotted names and plain values, as MLflow and tables show them; of ``network`` the chosen one's."""
    chosen = json.loads(json.dumps(asdict(params.network)))
    return dict(_leaves({**params.model_dump(mode="json", by_alias=True), "network": chosen}))


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _put(data: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.get(parent) if isinstance(data, dict) else None
    if not isinstance(data, dict) or last not in data:
        raise ConfigError(f"{key}: no such param to override; see params.yaml for the names")
    data[last] = value


def _first_problem(error: ValidationError) -> str:
    """``train.lr: 'fast': Input should be a valid number``, from the first of pydantic's problems."""
    first = error.errors()[0]
    parts = [part for place, part in enumerate(first["loc"]) if place < 2 or part not in TAGS]
    where = ".".join(str(part) for part in parts)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: unknown key; remove it or mend its spelling"
    if first["type"] == "missing":
        return f"{where}: missing; add it (pipeline/config/params.py describes every param)"
    return f"{where}: {first['input']!r}: {first['msg'].removeprefix('Value error, ')}; mend it in params.yaml"
