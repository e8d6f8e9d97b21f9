"""The command ``release``: run the pipeline and promote the version that it registered. Meant for a scheduler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.promotion import promote
from pipeline.storage.dvc_remote import connect
from pipeline.versioning.dvc import show_dvc
from rdmc.errors import ConfigError


def run(settings: Settings, read_project: Callable[[], Project[Params]]) -> bool:
    """Run `dvc repro` in the working folder, then judge the newest version. Returns whether that is the champion now.

    Args:
        settings: where the pipeline runs.
        read_project: reads the project. It is called after the run, whose stages read params.yaml themselves.

    Raises:
        ConfigError: the settings put the project's files in another folder, where DVC does not look.
        ServiceError: DVC or MLflow fails.
    """
    if settings.data:
        raise ConfigError(f"RDMC_DATA={settings.data}: DVC keeps its files in this folder; unset it for a release")
    if settings.bucket:
        connect(settings, Path())
    show_dvc(Path(), "repro")
    project = read_project()
    return promote.run(project, project.params.register_.alias)
