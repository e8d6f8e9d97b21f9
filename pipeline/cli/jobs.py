"""The command that runs other commands as jobs on a Ray cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import PARAMS, ParamsFile, read_project
from rdmc.errors import ConfigError

Arguments = Annotated[
    list[str] | None, typer.Argument(help="Its arguments, after `--` if they begin with a hyphen.", show_default=False)
]


def submit(
    command: Annotated[
        str, typer.Argument(help="`train`, `evaluate`, `register`, `promote`, `release` or `tune`.", show_default=False)
    ] = "",
    arguments: Arguments = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit the job and do not follow it.")] = False,
    attach: Annotated[
        str, typer.Option(help="Follow this job, and bring its results home. Nothing is submitted.", metavar="JOB")
    ] = "",
    cancel: Annotated[str, typer.Option(help="Stop this job. Nothing is submitted.", metavar="JOB")] = "",
    env: Annotated[
        list[str] | None,
        typer.Option(help="A further variable of the job. Never a secret.", metavar="NAME=VALUE"),
    ] = None,
    address: Annotated[
        str, typer.Option(help="Ray's dashboard. Without it: RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265.")
    ] = "",
    params: ParamsFile = PARAMS,
) -> None:
    """Run a command of this checkout as a job on a Ray cluster, follow it, and bring its results home.

    The job takes along the code, params.yaml and dvc.lock. It reads the shards from the bucket, so `dvc push` them first. The
    nodes have the credentials of the bucket and MLflow's address in their own environment; this command sends no secret. The
    exit code is that of the job. Ctrl-C ends this command and not the job.
    """
    from pipeline.jobs import submit as work

    if sum(bool(given) for given in (command, attach, cancel)) != 1:
        raise ConfigError("submit: needs a command, or --attach JOB, or --cancel JOB; name one of them")
    if cancel:
        work.cancel(cancel, address)
        return
    if attach:
        code = work.attach(read_project(params), attach, address)
    else:
        given = [] if params == PARAMS else ["--params", str(params)]
        job = work.Job(command, [*(arguments or []), *given], env or [])
        code = work.run(read_project(params), job, address, detach)
    if code:
        raise typer.Exit(code)
