"""A service of the stack: how it is started, when it is ready, and how it is stopped."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.stack.processes import MARK, Process, end_marked
from pipeline.stack.state import State, is_free
from rdmc.errors import ConfigError, ServiceError, one_line

POLL = 0.1
"""Seconds between two checks whether a service is ready."""
STOP_SECONDS = 45.0
"""Seconds that a service may take to end after its signal. Then it is killed."""
FOREIGN = ("RDMC_", "MLFLOW_", "_MLFLOW_", "RAY_", "AWS_", "PG", "RCLONE_", "STACK_")
"""How the variables begin that services do not inherit, because they would point them elsewhere."""
RUNNING, SILENT, STOPPED = "running", "not answering", "stopped"


class EndedError(ServiceError):
    """A service whose process ended before it was ready."""


def nothing() -> None:
    """Do nothing: a service with nothing to prepare."""


@dataclass(frozen=True)
class Service:
    """A process of the stack, and the processes that it starts."""

    name: str
    address: str
    """Where clients reach it, as ``status`` shows it."""
    command: tuple[str, ...]
    """It holds no secret: every user of the machine can read it."""
    environment: Mapping[str, str] = field(repr=False)
    """Variables beside those of this process, secrets included."""
    ports: Mapping[str, int]
    """The ports that it listens on, by the name of their setting."""
    ready: Callable[[], bool]
    """Whether it answers as it should; it takes a few seconds at most."""
    prepare: Callable[[], None] = nothing
    """What must be done before its start. It raises RdmcError, and doing it again changes nothing."""
    user: str = ""
    """Name of the user that it must run as, if not as this one."""
    stop_signal: int = signal.SIGTERM
    followers: tuple[str, ...] = ()
    """Services that cannot go on without this process, so they are stopped before it is started again."""
    tries: int = 1
    """How often it is started if it ends as it starts, as Ray's nodes do on a busy machine."""
    start_seconds: float = 180.0
    """Seconds that it may take to be ready on a busy machine."""


def condition(service: Service, state: State) -> str:
    """``RUNNING``, ``SILENT`` (the process runs and does not answer) or ``STOPPED``."""
    if not is_alive(state, service.name):
        return STOPPED
    return RUNNING if service.ready() else SILENT


def bring_up(service: Service, state: State) -> bool:
    """Start a service, or wait for it if its process runs already, until it is ready. Returns whether it was started now.

    Raises ConfigError for a port that another program has taken, ServiceError if the service does not get ready.
    """
    process = state.process(service.name)
    if process is not None and process.alive:
        _wait(service, state, process)
        return False
    for follower in service.followers:
        bring_down(state, follower)
    for attempt in range(1, service.tries + 1):
        end_marked(state.mark(service.name))  # what a killed service left behind holds its ports and its files
        _require_free(service)
        service.prepare()
        try:
            _wait(service, state, _start(service, state))
            break
        except EndedError:
            if attempt == service.tries:
                raise
    return True


def bring_down(state: State, name: str) -> bool:
    """Stop a service and everything that it started. Returns whether anything of it ran."""
    process = state.process(name)
    ran = process is not None and process.alive
    if process is not None:
        process.send(state.stop_signal(name))
        if not process.wait(STOP_SECONDS):
            process.send(signal.SIGKILL)
            process.wait(STOP_SECONDS)
    left = end_marked(state.mark(name))
    state.drop_process(name)
    return ran or left > 0


def is_alive(state: State, name: str) -> bool:
    """Whether the process of a service runs."""
    process = state.process(name)
    return process is not None and process.alive


def as_user(name: str) -> dict[str, Any]:
    """Options of ``subprocess.Popen`` to run as another user; none for an empty name."""
    if not name:
        return {}
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def inherited() -> dict[str, str]:
    """The variables of this process that services get."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def _require_free(service: Service) -> None:
    for name, port in service.ports.items():
        if not is_free(port):
            raise ConfigError(
                f"port {port} of 127.0.0.1: another program has it, and {service.name} needs it; end that program, "
                f"or take another port: python -m pipeline stack up --port {name}=NUMBER"
            )


def _start(service: Service, state: State) -> Process:
    """Start a service's process, which leads its own session, so that Ctrl-C here does not reach it."""
    log = state.log(service.name)
    if log.exists():
        log.replace(log.with_suffix(".log.old"))
    environment = {**inherited(), **service.environment, MARK: state.mark(service.name)}
    with log.open("wb") as output:
        try:
            started = subprocess.Popen(
                service.command,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **as_user(service.user),
            )
        except OSError as error:
            raise ServiceError(f"{service.name}: {one_line(error)}; fix that, then run `stack up` again") from None
    process = Process.of(started.pid)
    started.returncode = 0  # it goes on when this command ends, so Python must neither wait for it nor warn
    state.keep_process(service.name, process, service.stop_signal)
    return process


def _wait(service: Service, state: State, process: Process) -> None:
    """Wait until a service is ready. Raises EndedError if its process ends, ServiceError if the time is over."""
    end = time.monotonic() + service.start_seconds
    log = state.log(service.name)
    while not service.ready():
        if process.wait(POLL):
            raise EndedError(
                f"{service.name} ended as it started ({_last_line(state, service)}); "
                f"read {log}, fix that, then run `stack up` again"
            )
        if time.monotonic() > end:
            raise ServiceError(
                f"{service.name} is not ready after {service.start_seconds:g} s ({_last_line(state, service)}); "
                f"read {log}, then run `stack down` and `stack up`"
            )


def _last_line(state: State, service: Service) -> str:
    """The last line of a service's log that is not empty."""
    try:
        text = state.log(service.name).read_text(errors="replace")
    except OSError:
        return "no log"
    return one_line(next((line for line in reversed(text.splitlines()) if line.strip()), "its log is empty"))
