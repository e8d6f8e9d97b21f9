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
    from pipeline.config.registry import Register

PARAMS = Path("params.yaml")
ParamsFile = Annotated[Path, typer.Option("--params", help="The file with the params.")]
RunName = Annotated[
    str, typer.Option("--run", help="Fetch the results of this training from the bucket first.", metavar="NAME")
]


def read_project(params: Path = PARAMS, profile: str | None = None) -> Project[Params]:
    """The project of a params file, with a profile if one is named, and of this process's environment. Raises ConfigError."""
    from pipeline.config.params import read_params  # imports torch, which would slow --help down
    from pipeline.config.project import Project

    settings = read_settings()
    return Project(read_params(params, profile), settings, Paths(Path(settings.data)))


def registered_names(params: Path = PARAMS) -> Register:
    """The names in the model registry that a params file gives. Without the default file, they are the usual ones.

    Raises ConfigError for a file that cannot be read.
    """
    if params == PARAMS and not params.exists():
        from pipeline.serving.choice import NAMES

        return NAMES
    return read_project(params).params.register_


def known(project: Project[Params], dataset: str) -> str:
    """``dataset`` itself, if the params have it. Raises ConfigError otherwise."""
    names = project.params.datasets
    if dataset not in names:
        raise ConfigError(f"{dataset!r} is not a dataset of params.yaml ({', '.join(names)}); name one of these")
    return dataset
