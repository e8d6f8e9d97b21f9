"""``python -m pipeline <act>``: the command line. Each act is a function of ``pipeline.cli``."""

from __future__ import annotations

import errno
import sys
from concurrent.futures.process import BrokenProcessPool
from typing import NoReturn

import typer

from pipeline.cli import data, models, training, use
from rdmc.errors import RdmcError, one_line

INTERRUPTED = 130
ACTS = (
    data.datasets,
    data.fetch,
    data.prepare,
    data.leaks,
    data.pack,
    training.train,
    training.search,
    training.tune,
    training.ablate,
    training.evaluate,
    models.register,
    models.models,
    models.promote,
    models.rollback,
    models.diff,
    models.history,
    models.rebuild,
    models.release,
    use.derain,
    use.export,
    use.serve,
    data.connect,
    use.ui,
)
"""In the order of ``--help``, which is that of a model's life."""


def command_line() -> typer.Typer:
    """All acts, with their help."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # a plain traceback of a fault of ours; locals could hold secrets
        rich_markup_mode="markdown",
        help="Train, evaluate and use RDMC, a network that removes rain from photographs.\n\n"
        "`make repro` runs prepare, leaks, pack, train, evaluate and register in order and skips what has not changed. "
        "What changes a result stands in `params.yaml`; where things run is set by the environment (`docs/operations.md`).",
    )
    for act in ACTS:
        app.command()(act)
    return app


def main() -> None:
    """Run the command line; what a person or the machine is at fault for ends in one line on standard error.

    Exit codes: 1, 130 after Ctrl-C, 3 where the gate refuses or leaks are found. A fault of the program's own keeps its
    traceback.
    """
    try:
        command_line()()
    except RdmcError as error:
        _fail(str(error), error.exit_code)
    except BrokenProcessPool:
        _fail("a process of this act was ended from outside, often for want of memory; free some and run it again")
    except OSError as error:
        rule = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EACCES: "make it accessible"}
        _fail(f"{one_line(error)}; {rule.get(error.errno or 0, 'mend that')}, then run the same act again")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer's answer to Ctrl-C
            _fail("stopped; the same act begins again, a training where it was", INTERRUPTED)
        raise


def _fail(line: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
