"""The commands ``stack up``, ``down`` and ``status``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from pipeline.console import say, table
from pipeline.stack import mlflow_server, postgres, ray_nodes, s3_server
from pipeline.stack.processes import require_proc
from pipeline.stack.service import Service, bring_down, bring_up, condition, is_alive
from pipeline.stack.state import State, write_secret
from rdmc.errors import ConfigError

ENV = "env"
"""The file with the variables that clients need, in the stack's folder."""
BUCKET = f"s3://{s3_server.BUCKET}/{s3_server.PREFIX}"
NAMES = (postgres.NAME, s3_server.NAME, mlflow_server.NAME, ray_nodes.HEAD, *ray_nodes.WORKERS)
"""The services in the order of their start."""


def up(state: State, wanted: Mapping[str, int]) -> None:
    """Start what does not run yet, in order; write the file with the variables of clients; show a table.

    Raises ConfigError for a port that another program has taken, or something that is not installed; ServiceError for a service
    that does not get ready. What runs by then stays, and the same command goes on from there.
    """
    require_proc()
    with state.locked():
        before = state.ports()
        moved = sorted(name for name, port in wanted.items() if before.get(name, port) != port)
        if moved and any(is_alive(state, name) for name in NAMES):
            raise ConfigError(f"--port {moved[0]}: the stack runs with {before[moved[0]]}; run `stack down` first")
        ports = state.choose_ports(wanted)
        everything = services(state, ports)
        write_secret(state.root / ENV, as_shell(client_variables(state, ports)))
        for service in everything:
            if bring_up(service, state):
                say(f"started {service.name}")
    show(state)
    say(f"set -a; . {shlex.quote(str(state.root / ENV))}; set +a   # points this shell at the stack")
    say(f"log in to MLflow as {mlflow_server.USER} with the password in {state.secret_file(mlflow_server.NAME)}")


def down(state: State, delete: bool) -> None:
    """Stop what runs, in reverse order. Data stay, unless they are to be deleted."""
    if not state.root.exists():
        say(f"{state.root}: there is no stack here")
        return
    require_proc()
    with state.locked():
        stopped = [name for name in reversed(NAMES) if bring_down(state, name)]
        if delete:
            state.delete()
    say(f"stopped {', '.join(stopped)}" if stopped else "nothing ran")
    if delete:
        say(f"deleted {state.root}")


def status(state: State) -> None:
    """Show the services, their addresses and whether they answer."""
    if not state.ports():
        say(f"{state.root}: there is no stack here; `make up` starts one")
        return
    require_proc()
    show(state)


def show(state: State) -> None:
    """Print a table of the services."""
    rows = [(service.name, service.address, condition(service, state)) for service in services(state, state.ports())]
    table("The stack", ("service", "address", "state"), rows)


def services(state: State, ports: Mapping[str, int]) -> list[Service]:
    """The services in the order of their start. Raises ConfigError for a program that is not installed."""
    s3 = s3_server.client_variables(state, ports["s3"])
    shared = {**s3, **mlflow_variables(state, ports), "RDMC_BUCKET": BUCKET}
    return [
        postgres.service(state, ports["postgres"]),
        s3_server.service(state, ports["s3"]),
        mlflow_server.service(state, ports["mlflow"], ports["postgres"], f"{BUCKET}/mlflow", s3),
        ray_nodes.head(state, ports, shared),
        *(ray_nodes.worker(state, ports, shared, name) for name in ray_nodes.WORKERS),
    ]


def client_variables(state: State, ports: Mapping[str, int]) -> dict[str, str]:
    """The variables with which the commands of this project, DVC, MLflow and Ray use the stack."""
    return {
        **mlflow_variables(state, ports),
        **s3_server.client_variables(state, ports["s3"]),
        "RDMC_BUCKET": BUCKET,
        **ray_nodes.client_variables(state, ports),
    }


def mlflow_variables(state: State, ports: Mapping[str, int]) -> dict[str, str]:
    """The variables of MLflow's clients."""
    return {
        "MLFLOW_TRACKING_URI": mlflow_server.address(ports["mlflow"]),
        "MLFLOW_TRACKING_USERNAME": mlflow_server.USER,
        "MLFLOW_TRACKING_PASSWORD": state.secret(mlflow_server.NAME),
    }


def as_shell(variables: Mapping[str, str]) -> str:
    """The variables as lines that a shell reads."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join(["# set -a; . THIS FILE; set +a", *lines, ""])
