"""What several acts take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.config.paths import Paths
from pipeline.config.settings import read_settings
from rdmc.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config.params import Params

PARAMS = Path("params.yaml")
ParamsFile = Annotated[Path, typer.Option("--params", help="The params file.")]


def load(path: Path) -> Params:
    """The params of a file."""
    from pipeline.config.params import read_params  # brings torch: too slow for --help

    return read_params(path)


def here() -> Paths:
    """Where the settings have files."""
    return Paths(Path(read_settings().data))


def known(params: Params, dataset: str) -> str:
    """``dataset``, where the params have it. Raises ConfigError."""
    if dataset not in params.datasets:
        raise ConfigError(f"{dataset!r} is not a dataset of params.yaml ({', '.join(params.datasets)}); name one of these")
    return dataset
