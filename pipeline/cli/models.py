"""Acts of the registry: versions, which one is the champion, and how one is made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, read_project
from pipeline.config.settings import read_settings

VersionName = Annotated[str, typer.Argument(help="A version's number, or an alias as `candidate`.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Promote what the gate refuses; needs --reason.")]
Reason = Annotated[str, typer.Option(help="Why; the history keeps it.")]
REFUSED = 3
"""Exit code of ``promote`` and ``release`` where the gate refuses."""


def register(params: ParamsFile = PARAMS) -> None:
    """Register the best model in MLflow, with all that made it and all that is known of it, as `candidate`."""
    from pipeline.stages import register as command

    command.run(read_project(params))


def models(params: ParamsFile = PARAMS) -> None:
    """List the versions in the registry: aliases, figures, digests of data, weights and code, age, verdict."""
    from pipeline.promotion import models as command

    command.run(read_project(params))


def promote(version: VersionName, force: Force = False, reason: Reason = "", params: ParamsFile = PARAMS) -> None:
    """Make a version the champion, if it is better than the present one on the test images of every dataset of params.yaml.

    `gate` in `params.yaml` has the rules. The verdict is kept with the version, the deed in the history. Exit codes: 0
    promoted, or the champion already; 3 refused by the gate; 1 could not be judged or was overtaken by another promotion.
    """
    from pipeline.promotion import promote as command

    if not command.run(read_project(params), version, force, reason):
        raise typer.Exit(REFUSED)


def rollback(reason: Reason = "", params: ParamsFile = PARAMS) -> None:
    """Make the champion before this one the champion again; each further rollback goes one further back."""
    from pipeline.promotion import rollback as command

    command.run(read_project(params), reason)


def diff(first: VersionName, second: VersionName, params: ParamsFile = PARAMS) -> None:
    """Show what two versions differ in: params, data, code, and the figures of each dataset."""
    from pipeline.registry import diff as command

    command.run(read_project(params), first, second)


def history(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, params: ParamsFile = PARAMS) -> None:
    """Show who made which version the champion, when, from which, on what verdict, and why; also what was refused."""
    from pipeline.promotion import history as command

    command.run(read_project(params), as_json)


def rebuild(
    version: VersionName,
    folder: Annotated[Path, typer.Argument(help="A new folder for the project as it was.", show_default=False)],
    train: Annotated[bool, typer.Option("--train", help="Train again too; else weights come by digest.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Build a version again from the registry: its commit, params and data in a new folder, and its figures measured anew."""
    from pipeline.registry import rebuild as command

    command.run(read_project(params), version, folder, train)


def release() -> None:
    """Run the pipeline (`dvc repro`) and promote what it registered, for a scheduler. Exit codes are those of `promote`."""
    from pipeline.promotion import release as command

    if not command.run(read_settings(), read_project):
        raise typer.Exit(REFUSED)
