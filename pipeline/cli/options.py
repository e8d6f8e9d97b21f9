"""Options that several commands share, and the project that is read from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.config.paths import Paths
from pipeline.config.settings import read_settings
from rdmc.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config.params import Params
    from pipeline.config.project import Project

PARAMS = Path("params.yaml")
ParamsFile = Annotated[Path, typer.Option("--params", help="The file with the params.")]


def read_project(params: Path = PARAMS) -> Project[Params]:
    """The project of a params file and of this process's environment. Raises ConfigError."""
    from pipeline.config.params import read_params  # imports torch, which would slow --help down
    from pipeline.config.project import Project

    settings = read_settings()
    return Project(read_params(params), settings, Paths(Path(settings.data)))


def known(project: Project[Params], dataset: str) -> str:
    """``dataset`` itself, if the params have it. Raises ConfigError otherwise."""
    names = project.params.datasets
    if dataset not in names:
        raise ConfigError(f"{dataset!r} is not a dataset of params.yaml ({', '.join(names)}); name one of these")
    return dataset
