"""The command ``release``: run the pipeline and promote the version that it registered. Meant for a scheduler."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.promotion import promote
from pipeline.registry.client import registry
from pipeline.registry.versions import AGAIN, known_version
from pipeline.storage.dvc_remote import connect
from pipeline.versioning.dvc import show_dvc
from rdmc.errors import ConfigError, DataError, one_line


def run(settings: Settings, read_project: Callable[[], Project[Params]], check: Callable[[Project[Params]], None]) -> bool:
    """Run `dvc repro` in the working folder, then judge the version that it registered. Returns whether that is the champion.

    That is the version in ``metrics/register.json``, whichever version has the alias. If MLflow does not have it, as after a
    change of the server, it is registered again first.

    Args:
        settings: where the pipeline runs.
        read_project: reads the project. It is called again after the run, whose stages read params.yaml themselves.
        check: raises an error for a project that cannot be run. It is called before DVC deletes anything.

    Raises:
        ConfigError: the settings put the project's files in another folder, where DVC does not look.
        DataError: ``metrics/register.json`` names no version.
        ServiceError: DVC or MLflow fails.
    """
    if settings.data:
        raise ConfigError(f"RDMC_DATA={settings.data}: DVC keeps its files in this folder; unset it for a release")
    check(read_project())
    if settings.bucket:
        connect(settings, Path())
    show_dvc(Path(), "repro")
    project = read_project()
    if not _is_there(project):
        say(f"MLflow does not have version {_registered(project)[0]} of this project: it is registered again")
        show_dvc(Path(), "repro", "--force", "--single-item", "register")
    return promote.run(project, str(_registered(project)[0]))


def run_job(project: Project[Params], stages: Sequence[Callable[[Project[Params]], None]]) -> bool:
    """Run the stages in a job, which has no DVC, then judge the version that they registered, as ``run`` does."""
    for stage in stages:
        stage(project)
    return promote.run(project, str(_registered(project)[0]))


def _is_there(project: Project[Params]) -> bool:
    """Whether MLflow has the version that the project registered, made by the same run."""
    number, run_id = _registered(project)
    with registry(project.settings) as client:
        version = known_version(client, project.params.register_.model, number)
    return version is not None and version.run_id == run_id


def _registered(project: Project[Params]) -> tuple[int, str]:
    """The number and the run of the version that ``register`` made last in this project."""
    path = project.paths.register_metrics
    try:
        made = json.loads(path.read_text())
        return int(made["version"]), str(made["run_id"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: {one_line(error)}; make it with {AGAIN}") from None
