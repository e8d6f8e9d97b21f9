"""params.yaml, typed and strict: everything that changes the result, and nothing else.

``read_params`` refuses an unknown key, an ill-typed value or a rule broken with one line such as ``train.lr: …``. The
fields of ``network``, ``loss`` and ``train`` are documented beside their owners in ``rdmc``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PositiveFloat, Tag, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.datasets import NAME, Dataset, Pack, Prepare, Strict, by_keys
from rdmc.errors import ConfigError
from rdmc.losses import LossConfig
from rdmc.networks import NetworkConfig
from rdmc.training import TrainConfig

TAGS = {"embedded", "folders", "PairFolders", "SideBySide", "Choice", "Uniform", "LogUniform", "[key]"}
"""What pydantic adds to the place of a problem, from the third part on."""
NETWORKS = ("rdmc", "prenet", "unet")
"""The kinds of network; pydantic adds the one at hand after ``network``."""


def _free(name: str) -> str:
    if name == "overall":
        raise ValueError("Name should not be that of the figures over all datasets")
    return name


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] >= bounds[1]:
        raise ValueError("The first bound should be below the second")
    return bounds


class Evaluate(Strict):
    """What ``evaluate`` does with the test images."""

    tile: int = Field(ge=256)
    """Images with a side longer than this are derained in tiles of it, so that memory stays bounded."""
    pictures: int = Field(ge=0, le=1000)
    """Before/after/error pictures to draw per dataset."""


class Register(Strict):
    """The name in the model registry."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    alias: str = Field(pattern=r"^[a-z][a-z0-9-]*$")


class Choice(Strict):
    """One of a list."""

    choice: list[int | float | str | bool] = Field(min_length=1)


class Uniform(Strict):
    """A float between two bounds."""

    uniform: Annotated[tuple[float, float], AfterValidator(_ascending)]


class LogUniform(Strict):
    """A float between two bounds, even on a logarithmic scale."""

    loguniform: Annotated[tuple[PositiveFloat, float], AfterValidator(_ascending)]


Domain = Annotated[
    Annotated[Choice, Tag("Choice")] | Annotated[Uniform, Tag("Uniform")] | Annotated[LogUniform, Tag("LogUniform")],
    by_keys(Choice, Uniform, LogUniform),
]


class Tune(Strict):
    """The sweep: what is searched, how long, how many at once."""

    trials: int = Field(ge=1)
    concurrent: int = Field(ge=1)
    steps: int = Field(ge=1)
    """Optimiser steps of a trial that is never stopped early."""
    grace_steps: int = Field(ge=1)
    """Steps every trial may take before ASHA may stop it."""
    reduction: int = Field(ge=2)
    """ASHA keeps one trial in this many at each rung."""
    space: dict[str, Domain] = Field(min_length=1)
    """Dotted params (``train.lr``) and where they may lie."""


class Params(Strict):
    """The whole of params.yaml."""

    seed: int = Field(ge=0, lt=2**32)
    datasets: dict[Annotated[str, Field(pattern=NAME), AfterValidator(_free)], Dataset] = Field(min_length=1)
    prepare: Prepare
    pack: Pack
    network: Annotated[NetworkConfig, Field(discriminator="kind")]
    loss: LossConfig
    train: TrainConfig
    evaluate: Evaluate
    register_: Register = Field(alias="register")
    tune: Tune

    @field_validator("tune")
    @classmethod
    def _rungs_fit(cls, value: Tune) -> Tune:
        if value.grace_steps > value.steps:
            raise ValueError(f"grace_steps {value.grace_steps} exceeds steps {value.steps}")
        return value

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
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())}); mend that line") from None
    return parse_params(data, str(path))


def parse_params(data: Any, source: str) -> Params:
    """Validate plain data; ``source`` is named in the error. Raises ConfigError."""
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"is a {type(data).__name__}, not a map of params"
        raise ConfigError(f"{source}: {what}; write the params that pipeline/params.py describes")
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


def flatten(params: Params) -> dict[str, Any]:
    """Dotted names and plain values, as MLflow and tables show them."""
    return dict(_leaves(params.model_dump(mode="json", by_alias=True)))


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
    if parts[0] == "network" and len(parts) > 2 and parts[1] in NETWORKS:
        parts.pop(1)
    where = ".".join(str(part) for part in parts)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: unknown key; remove it or mend its spelling"
    if first["type"] == "union_tag_not_found":
        return f"{where}.kind: missing; add it, one of {', '.join(NETWORKS)}"
    if first["type"] == "missing":
        return f"{where}: missing; add it (pipeline/params.py describes every param)"
    return f"{where}: {first['input']!r}: {first['msg'].removeprefix('Value error, ')}; mend it in params.yaml"
