"""Commands that copy what cannot be made again, and put it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, read_project


def backup(
    folder: Annotated[Path, typer.Argument(help="A folder. The backup is a new one in it, named by the time.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Copy MLflow's database and artifacts, the registry's state and the bucket into a new folder, with digests.

    The database is that of `MLFLOW_BACKEND_STORE_URI`, else of `MLFLOW_TRACKING_URI`. Checkpoints of running trainings
    (`ray/` in the bucket) are left out. Nothing has to be stopped.
    """
    from pipeline.backup import make as command

    command.run(read_project(params), folder)


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup: a folder that `backup` made.", show_default=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Write over what is there: database, artifacts, objects.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; compare what MLflow has with the backup.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Put a backup back, then compare versions, aliases and history with it, and verify the weights of every version.

    A damaged backup is refused before anything is changed, and so are places that are not empty. If MLflow does not answer
    yet after the database is back, start it and run the command with `--check`.
    """
    from pipeline.backup import restore as command

    command.run(read_project(params), folder, replace, check)
