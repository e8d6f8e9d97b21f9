"""The Ray cluster: a head and two workers on the loopback address, with a token.

Every process of a node knows the bucket and MLflow, as in compose and Kubernetes, so a job needs no variables for them.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.stack import ray_loopback
from pipeline.stack.service import Service
from pipeline.stack.state import HOST, State, own_folder
from rdmc.web import open_url

HEAD = "ray-head"
WORKERS = ("ray-worker-1", "ray-worker-2")
CHECK_SECONDS = 5.0
OBJECT_STORE = 300_000_000
"""Bytes of shared memory for the objects of one node. Trainings pass small reports only."""
LONGEST = 41
"""Characters that Ray's folder may have: a socket's path below it may have 107."""
TRIES = 3
"""How often a node is started: Ray gives up after 30 seconds in which a busy machine may not get it up."""
STARTED = "Ray runtime started."


def token_file(state: State) -> Path:
    """The file with the token that the cluster asks for."""
    state.secret("ray-token", 64)
    return state.secret_file("ray-token")


def client_variables(state: State, ports: Mapping[str, int]) -> dict[str, str]:
    """The variables with which drivers and ``ray job submit`` reach the cluster."""
    return {
        "RDMC_RAY_ADDRESS": f"{HOST}:{ports['ray']}",
        "RAY_API_SERVER_ADDRESS": dashboard(ports),
        **_token_variables(state),
    }


def dashboard(ports: Mapping[str, int]) -> str:
    """The address of the dashboard, which takes jobs."""
    return f"http://{HOST}:{ports['dashboard']}"


def head(state: State, ports: Mapping[str, int], variables: Mapping[str, str]) -> Service:
    """The head. It has one CPU, for the drivers of jobs; ``variables`` reach all that runs on it."""
    listens = {
        name: ports[name] for name in ("ray", "dashboard", "client", "metrics-head", "metrics-dashboard", "metrics-autoscaler")
    }
    options = {
        **_node("metrics-head", ports),
        "port": ports["ray"],
        "dashboard-host": HOST,
        "dashboard-port": ports["dashboard"],
        "ray-client-server-port": ports["client"],
        "num-cpus": 1,
        "num-gpus": 0,
        "temp-dir": _folder(state) / "t",
    }
    metrics = {"DASHBOARD_METRIC_PORT": ports["metrics-dashboard"], "AUTOSCALER_METRIC_PORT": ports["metrics-autoscaler"]}
    return Service(
        name=HEAD,
        address=dashboard(ports),
        command=_command(["--head"], options),
        environment={**_environment(state, variables), **{name: str(port) for name, port in metrics.items()}},
        ports=listens,
        ready=lambda: answers(ports),
        prepare=lambda: _make_folder(state),
        followers=WORKERS,  # a new head is a new cluster, and refuses the nodes of the last one
        tries=TRIES,
    )


def worker(state: State, ports: Mapping[str, int], variables: Mapping[str, str], name: str) -> Service:
    """A worker: half of the machine's CPUs, at least one. The first one has the GPUs."""
    metrics = f"metrics-{name.removeprefix('ray-')}"
    options = {
        **_node(metrics, ports),
        "address": f"{HOST}:{ports['ray']}",
        "num-cpus": max(1, (os.cpu_count() or 1) // len(WORKERS)),
        **({} if name == WORKERS[0] else {"num-gpus": 0}),
        "resources": json.dumps({name: 1}),
    }
    return Service(
        name=name,
        address=f"{HOST}:{ports[metrics]}/metrics",
        command=_command([], options),
        environment=_environment(state, variables),
        ports={metrics: ports[metrics]},
        ready=lambda: _has_started(state, name) and name in alive_nodes(state, ports),
        tries=TRIES,
    )


def answers(ports: Mapping[str, int]) -> bool:
    """Whether the head is healthy, by its dashboard."""
    try:
        with open_url(f"{dashboard(ports)}/api/gcs_healthz", ("http",), timeout=CHECK_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def alive_nodes(state: State, ports: Mapping[str, int]) -> set[str]:
    """The resources of the nodes that are alive, among them the names of the workers. Empty if the head does not answer."""
    headers = {"Authorization": f"Bearer {token_file(state).read_text()}"}
    try:
        with open_url(f"{dashboard(ports)}/api/v0/nodes?detail=1", ("http",), headers, CHECK_SECONDS) as answer:
            nodes: list[dict[str, Any]] = json.load(answer)["data"]["result"]["result"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {resource for node in nodes if node["state"] == "ALIVE" for resource in node["resources_total"]}


def _command(arguments: list[str], options: Mapping[str, Any]) -> tuple[str, ...]:
    program = (sys.executable, "-P", ray_loopback.__file__)  # -P: its folder is no place to import from
    named = [f"--{name}={value}" for name, value in options.items()]
    return (*program, "start", *arguments, "--block", "--disable-usage-stats", *named)


def _node(metrics: str, ports: Mapping[str, int]) -> dict[str, Any]:
    """Options of every node. Other ports are free ones that Ray takes: they are for the nodes alone."""
    return {
        "node-ip-address": HOST,
        "metrics-export-port": ports[metrics],
        "dashboard-agent-listen-port": 0,
        "object-store-memory": OBJECT_STORE,
    }


def _environment(state: State, variables: Mapping[str, str]) -> dict[str, str]:
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"  # jobs start `python` by its name
    return {
        **variables,
        **_token_variables(state),
        "PATH": path,
        "GLOO_SOCKET_IFNAME": "lo",
        "SPT_NOENV": "1",  # a title over the environment would hide whose process it is (processes.MARK)
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }


def _token_variables(state: State) -> dict[str, str]:
    return {**ray_loopback.LOOPBACK, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file(state))}


def _folder(state: State) -> Path:
    """Ray's folder, for sessions and sockets: in the stack's, or among the system's temporary files if that is too long."""
    inside = state.root / "ray"
    if len(str(inside)) <= LONGEST:
        return inside
    return state.outside("ray", Path(tempfile.gettempdir()))


def _make_folder(state: State) -> None:
    folder, inside = _folder(state), state.root / "ray"
    own_folder(folder, os.geteuid())  # Ray lets every user write in its own folder, which is below
    if folder != inside and not inside.is_symlink():
        inside.symlink_to(folder)


def _has_started(state: State, name: str) -> bool:
    """Whether a node has joined the cluster since its process was started, by its log."""
    log = state.log(name)
    return log.exists() and STARTED in log.read_text(errors="replace")
