"""params.yaml, typed and strict: everything that changes the result, and nothing else.

``read_params`` refuses an unknown key, a wrong type or a broken rule with one line such as ``train.lr: …``. What a training
depends on is in ``pipeline.config.recipe``. ``Params`` names the modules of the other sections. ``pipeline.config.profiles``
has the profiles, which change some params.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.config.data import Embedded, Leaks, Pack, Prepare
from pipeline.config.profiles import merged, profile_path
from pipeline.config.recipe import Recipe
from pipeline.config.registry import Gate, Register
from pipeline.config.schema import NAME, Strict, parse
from pipeline.config.tune import Tune
from rdmc.datasets.rain import KINDS
from rdmc.errors import ConfigError, one_line


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("No seed should be listed twice")
    return seeds


class Ablation(Strict):
    """What ``ablate`` compares: the recipe with and without its parts, trained in the same way."""

    steps: int = Field(ge=1)
    """Optimiser steps of each trial."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1), AfterValidator(_distinct)]
    """Each variant is trained once with each seed. It sets the initial weights, the order of the samples, and the crops."""
    concurrent: int = Field(ge=1)
    """Trials that run at once, with one worker each unless the settings say otherwise."""
    variants: dict[Annotated[str, Field(pattern=NAME)], dict[str, JsonValue]] = Field(min_length=2)
    """The variants by name, each with the params that differ (dotted, ``network.passes: 1``). The others are compared with the
    first."""


class Params(Recipe):
    """All of params.yaml."""

    prepare: Prepare
    leaks: Leaks
    pack: Pack
    register_: Register = Field(alias="register")
    gate: Gate
    tune: Tune
    ablation: Ablation

    @model_validator(mode="after")
    def _rain_is_known(self) -> Params:
        for name, dataset in self.datasets.items():
            if isinstance(dataset, Embedded) and dataset.rain not in KINDS:
                raise ConfigError(
                    f"datasets.{name}.rain: {dataset.rain!r} is not one of {', '.join(sorted(KINDS))}; name one of these"
                )
        return self


def read_params(path: Path = Path("params.yaml"), profile: str | None = None) -> Params:
    """The typed params in a YAML 1.2 file, changed by ``profiles/<profile>.yaml`` beside it if a profile is named.

    Raises ConfigError with one line: the file, the key, the value, the rule.
    """
    data = _read(path, "run from the project's folder or name a file with --params")
    params = parse_params(data, str(path))
    if profile is None:
        return params
    changes = profile_path(path, profile)
    return parse_params(merged(data, _read(changes, "make it readable"), str(changes)), str(changes))


def parse_params(data: Any, source: str) -> Params:
    """The typed params from plain data. Raises ConfigError, which names ``source``."""
    return parse(Params, data, source)


def _read(path: Path, cure: str) -> Any:
    """The plain data in a YAML file. Raises ConfigError; ``cure`` is its advice for a file that cannot be read."""
    try:
        return YAML(typ="safe", pure=True).load(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; {cure}") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({one_line(error)}); fix that line") from None
