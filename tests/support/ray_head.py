"""A real Ray head for tests, with free ports, its own folder and token authentication; it is ended by its process id."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdmc.web import open_url
from tests.support.ports import free_port
from tests.support.waiting import until

START_SECONDS = 300
NODE = {"node-ip-address": "127.0.0.1", "dashboard-agent-listen-port": 0, "num-gpus": 0}
SCRIPTS = Path(sysconfig.get_path("scripts"))


@dataclass(frozen=True)
class Head:
    """A running head."""

    dashboard: str
    """Address for ``ray job submit``."""
    address: str
    """Address for drivers and nodes."""
    folder: Path
    """Ray's temporary folder; the last session's logs and unpacked working folders are below it."""
    environment: dict[str, str]
    """The whole environment for a command that may use the head."""


@contextmanager
def ray_head(cpus: int = 2, variables: Mapping[str, str] | None = None) -> Iterator[Head]:
    """Start a head with ``cpus`` CPUs and yield it when it accepts jobs; afterwards, end it and delete its folder.

    ``variables`` are in the environment of its processes alone, as those of a node are.
    """
    with tempfile.TemporaryDirectory(prefix="ray-") as name:  # a short path, since a socket's path may have 107 bytes
        folder, port, dashboard, client = Path(name), free_port(), free_port(), free_port()
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "RDMC_", "MLFLOW_"))}
        environment |= {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"  # no requests are open at the end
        arguments = {
            **NODE,
            "port": port,
            "dashboard-host": "127.0.0.1",
            "dashboard-port": dashboard,
            "ray-client-server-port": client,
            "num-cpus": cpus,
            "temp-dir": folder / "t",
        }
        log = folder / "head.log"
        with _started(["--head"], arguments, folder, {**environment, **(variables or {})}, log) as process:
            _wait(process, f"http://127.0.0.1:{dashboard}", log)
            yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}", folder / "t", environment)


@contextmanager
def ray_node(head: Head, cpus: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """Add a node with ``cpus`` CPUs to a head and yield its process, whose children are the node's processes.

    The head counts it by then: a sweep that needs its CPUs is refused before.
    """
    arguments = {**NODE, "address": head.address, "num-cpus": cpus}
    until(lambda: _nodes(head), pause=0.2)
    before = _nodes(head)
    with _started([], arguments, head.folder.parent, head.environment, head.folder.parent / "node.log") as process:
        until(lambda: _nodes(head) - before, pause=0.2)  # another one may leave meanwhile
        yield process


def _nodes(head: Head) -> set[str]:
    """The nodes of a head that are alive."""
    command = [
        str(SCRIPTS / "ray"),
        "list",
        "nodes",
        "--address",
        head.dashboard,
        "--filter",
        "state=ALIVE",
        "--format",
        "json",
    ]
    listed = subprocess.run(command, env=head.environment, capture_output=True, text=True, check=True, timeout=120)
    return set(re.findall(r'"node_id": "(\w+)"', listed.stdout))  # without a node it is no JSON


@contextmanager
def _started(
    options: list[str], arguments: Mapping[str, Any], folder: Path, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``ray start`` and yield its process; end it by its process id."""
    command = [str(SCRIPTS / "ray"), "start", *options, "--block", "--disable-usage-stats"]
    command += [f"--{key}={value}" for key, value in arguments.items()]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()  # which ends its child processes too
        try:
            process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(process: subprocess.Popen[bytes], dashboard: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            open_url(f"{dashboard}/api/gcs_healthz", ("http",), timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the Ray head is not up after {START_SECONDS} s: {log.read_text()}")
