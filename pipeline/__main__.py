"""``python -m pipeline <command>``: the command line. Each command is a function in ``pipeline.cli``."""

from __future__ import annotations

import errno
import os
import platform
import sys
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

import typer

from pipeline.cli import backups, compare, data, downstream, jobs, models, stack, training, use
from pipeline.config.threads import wait_passively
from pipeline.signals import last_words, stop_by_sigterm
from rdmc.errors import RdmcError, one_line

INTERRUPTED = 130
"""Exit code of typer after a KeyboardInterrupt."""
DISTRIBUTION = "rdmc-pipeline"
SHOWN = (DISTRIBUTION, "torch", "ray", "mlflow", "dvc")
"""The packages that ``--version`` names."""
COMMANDS = (
    data.datasets,
    data.fetch,
    data.check,
    data.prepare,
    data.leaks,
    data.pack,
    training.train,
    training.search,
    training.tune,
    training.ablate,
    training.evaluate,
    compare.unpaired,
    compare.robustness,
    training.profile,
    training.reference,
    training.baseline,
    training.experiments,
    compare.compare,
    downstream.downstream,
    models.register,
    models.models,
    models.promote,
    models.rollback,
    models.diff,
    models.history,
    models.rebuild,
    models.release,
    jobs.submit,
    use.derain,
    use.export,
    use.serve,
    data.connect,
    backups.backup,
    backups.restore,
    data.clean,
    use.ui,
    stack.stack,
)
"""The commands in the order of ``--help``, which follows a model from data to use."""


def command_line() -> typer.Typer:
    """The command line with every command and its help."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # rich tracebacks show local variables, which may hold secrets
        rich_markup_mode="markdown",
        help="Train, evaluate and use RDMC, a network that removes rain from photographs.\n\n"
        "`make repro` runs check, prepare, leaks, pack, train, evaluate and register in this order, and skips what has not "
        "changed. `params.yaml` holds everything that changes a result. Environment variables set where things run "
        "(`docs/cluster.md`).",
    )
    app.callback()(_common)
    for command in COMMANDS:
        app.command()(command)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo("\n".join((*map(_named, SHOWN), f"Python {platform.python_version()}")))
        raise typer.Exit


def _named(package: str) -> str:
    """A package and its version as they are installed; nothing is imported."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package}: not installed, so without a version; run `make setup`"


def _common(
    shown: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the versions of this project, torch and others."
        ),
    ] = False,
) -> None:
    """The options before the command."""


def main() -> None:
    """Run the command line. Waiting threads sleep (``wait_passively``).

    An error of the user or of the machine becomes one line on standard error.

    Exit codes: 1 for an error, 2 for a wrong option or from ``check``, 3 if the gate refuses a version or leaks are found, 130
    after Ctrl-C, 143 after SIGTERM. A bug in the program keeps its traceback.
    """
    wait_passively(os.environ)
    stop_by_sigterm()
    try:
        command_line()()
    except RdmcError as error:
        _fail(str(error), error.exit_code)
    except BrokenProcessPool:
        _fail("a worker process of this command was killed, often because memory ran out; free some memory and run it again")
    except OSError as error:
        rule = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EACCES: "make it accessible"}
        _fail(f"{one_line(error)}; {rule.get(error.errno or 0, 'fix that')}, then run the same command again")
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        line, code = last_words(end)
        sys.stderr.write(f"{line}\n")
        sys.exit(code)


def _fail(line: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
