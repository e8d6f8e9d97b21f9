"""Commands for the model registry: registered versions, the champion among them, and how to rebuild a version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, RunName, read_project
from pipeline.config.settings import read_settings

VersionName = Annotated[str, typer.Argument(help="A version's number, or an alias such as `candidate`.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Promote the version even if the gate refuses it. Needs --reason.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Reason = Annotated[str, typer.Option(help="Why you do this. `history` shows it.")]
REFUSED = 3
"""Exit code of ``promote`` and ``release`` if the gate refuses the version."""


def register(params: ParamsFile = PARAMS, run: RunName = "") -> None:
    """Register the best model in MLflow, with the params, data and code that made it, and give it the alias `candidate`.

    `register.alias` in params.yaml sets another alias. Results that are not here come from the bucket, if one is set.
    """
    from pipeline.jobs.home import fetch_results
    from pipeline.stages import register as command
    from pipeline.storage.results import EVALUATED, TRAINED

    project = read_project(params)
    fetch_results(project, run, TRAINED, EVALUATED)
    command.run(project)


def models(as_json: AsJson = False, params: ParamsFile = PARAMS) -> None:
    """List the registered versions: aliases, metrics, digests of data, weights and code, age, and the gate's verdict."""
    from pipeline.promotion import models as command

    command.run(read_project(params), as_json)


def promote(
    version: VersionName, force: Force = False, reason: Reason = "", as_json: AsJson = False, params: ParamsFile = PARAMS
) -> None:
    """Make a version the champion (the version in use), if it passes the gate.

    The gate compares it with the current champion on the test images of every dataset in params.yaml. Its rules are under
    `gate` in params.yaml. The verdict is stored with the version, and the promotion in the history. Exit codes: 0 if the
    version was promoted or is the champion already; 3 if the gate refuses it; 1 if it could not be judged or if another
    promotion came first.
    """
    from pipeline.promotion import promote as command

    if not command.run(read_project(params), version, force, reason, as_json):
        raise typer.Exit(REFUSED)


def rollback(reason: Reason = "", params: ParamsFile = PARAMS) -> None:
    """Make the previous champion the champion again. Each further rollback goes back one more champion."""
    from pipeline.promotion import rollback as command

    command.run(read_project(params), reason)


def diff(first: VersionName, second: VersionName, as_json: AsJson = False, params: ParamsFile = PARAMS) -> None:
    """Show how two versions differ: params, data, code, and the metrics on each dataset."""
    from pipeline.registry import diff as command

    command.run(read_project(params), first, second, as_json)


def history(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=0, help="Show the newest entries only, at most this many; 0 shows all.")] = 0,
    params: ParamsFile = PARAMS,
) -> None:
    """Show every promotion, rollback and refusal, with who, when and why.

    Each entry names the version, the champion before it, and the gate's verdict.
    """
    from pipeline.promotion import history as command

    command.run(read_project(params), as_json, limit)


def rebuild(
    version: VersionName,
    folder: Annotated[
        Path, typer.Argument(help="The new folder to create for the project as it was then.", show_default=False)
    ],
    train: Annotated[
        bool, typer.Option("--train", help="Train again. Without it, the weights are downloaded by their digest.")
    ] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Rebuild a registered version in a new folder: its commit, params and data. Then measure its metrics again."""
    from pipeline.registry import rebuild as command

    command.run(read_project(params), version, folder, train)


def release() -> None:
    """Run the pipeline (`dvc repro`), then promote the version that it registered. Meant for a scheduler.

    In a job (`submit release`) it trains, evaluates and registers without DVC, on the shards in the bucket. A training that is
    in the bucket already is not repeated. The exit codes are those of `promote`.
    """
    from pipeline.promotion import release as command

    settings = read_settings()
    if settings.git_commit and settings.bucket:
        from pipeline.jobs.home import evaluate_and_keep, train_once
        from pipeline.stages import register as last

        promoted = command.run_job(read_project(), [train_once, evaluate_and_keep, last.run])
    else:
        from pipeline.stages import check

        promoted = command.run(settings, read_project, check.run)
    if not promoted:
        raise typer.Exit(REFUSED)
