"""The command ``stack``: PostgreSQL, MLflow, S3 and Ray as processes of this machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rdmc.errors import ConfigError


class Action(StrEnum):
    """What to do with the stack."""

    UP = "up"
    DOWN = "down"
    STATUS = "status"


def stack(
    action: Annotated[Action, typer.Argument(help="What to do: start what does not run, stop everything, or show what runs.")],
    port: Annotated[
        list[str] | None,
        typer.Option(help="With up: the port of a service, as in `mlflow=5001`. Give it once for each. It is kept."),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="With down: also delete `.stack` with all data, and its keys.")
    ] = False,
) -> None:
    """Run PostgreSQL, MLflow with a login, an S3 server and a Ray cluster with two workers on this machine, without containers.

    Everything listens on 127.0.0.1 and lies in `.stack`. `up` ends with the command that points a shell at the stack. It can be
    repeated: what runs is left alone. `down` keeps the data.
    """
    from pipeline.stack import commands
    from pipeline.stack.state import State

    if delete and action is not Action.DOWN:
        raise ConfigError(
            f"--delete: deletes what `stack down` stopped, so it does not go with {action}; run `stack down --delete`"
        )
    if port and action is not Action.UP:
        raise ConfigError(f"--port: is chosen when the stack starts, so it does not go with {action}; run `stack up --port …`")
    state = State.here()
    if action is Action.UP:
        commands.up(state, chosen_ports(port or []))
    elif action is Action.DOWN:
        commands.down(state, delete)
    else:
        commands.status(state)


def chosen_ports(options: list[str]) -> dict[str, int]:
    """The ports of ``NAME=NUMBER`` options. Raises ConfigError for an unknown name or no port number."""
    from pipeline.stack.state import PORTS

    chosen = {}
    for option in options:
        name, _, number = option.partition("=")
        if name not in PORTS:
            raise ConfigError(f"--port {option}: {name!r} is none of {', '.join(PORTS)}; write NAME=NUMBER")
        if not number.isdecimal() or not 0 < int(number) < 1 << 16:
            raise ConfigError(f"--port {option}: {number!r} is no port from 1 to 65535; write {name}=NUMBER")
        chosen[name] = int(number)
    return chosen
