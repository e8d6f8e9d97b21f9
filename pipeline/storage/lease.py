"""Leases in Ray's storage: one process at a time may run a sweep, or train a project.

The holder writes a lease, a small file, and renews it every few seconds. It works in a folder and in a bucket, so it also keeps
apart the machines of a cluster.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.console import say
from pipeline.storage.runs import RunFiles, run_files
from rdmc.errors import ConfigError, ServiceError

DRIVER = "driver.json"
"""The file with the lease of a sweep, in the sweep's folder."""
RENEWAL = 10.0
"""Seconds between two renewals of the lease."""
EXPIRY = 60.0
"""Age, in seconds, at which a lease expires. On the holder's own host the lease also ends with the holder's process."""
SETTLING = 0.2
"""Seconds after which a lease is read again. Of two processes that saw none and wrote theirs, the later one holds it."""
PROCESS = secrets.token_hex(8)
"""Tells this process from an earlier one with the same number, as in a container that was started again."""


@contextmanager
def leased(place: RunFiles, doing: str = "drives this sweep", name: str = DRIVER) -> Iterator[None]:
    """Hold the lease ``name`` in ``place`` while the block runs.

    Raises ConfigError, which says what the other process is ``doing``, where another process holds it.
    """
    place = place.at_once()  # a lease that is written late is worth nothing
    if other := holder(place, name):
        raise ConfigError(f"{place.path}: {other} {doing}; wait for its end, or end it and run this again")
    token = secrets.token_hex(8)
    lease = {"host": socket.gethostname(), "pid": os.getpid(), "process": PROCESS, "token": token}
    _renew(place, name, lease)
    time.sleep(SETTLING)
    if _read_lease(place, name).get("token") != token:
        raise ConfigError(f"{place.path}: another process that {doing} started at the same time; wait for its end")
    ended = threading.Event()

    def renew() -> None:
        fails = False
        while not ended.wait(RENEWAL):
            try:
                _renew(place, name, lease)
            except ServiceError as error:
                if not fails:
                    say(f"warning: {error}; what runs here tries again for RDMC_OUTAGE seconds")
                fails = True
            else:
                if fails:
                    say(f"{place.path} can be written again")
                fails = False

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with suppress(ServiceError):
            place.drop(name)


@contextmanager
def training_lease(project: Project[Recipe], run: str) -> Iterator[None]:
    """Hold the right to write the results of a project, and to resume the run ``run`` in a storage that machines share.

    Raises ConfigError where another process holds one of the two.
    """
    kind = run.partition("-")[0]
    own = RunFiles(str(project.paths.runs.absolute()), None)
    with (
        leased(own, f"runs `{kind}` in this project", f"{kind}.lease"),
        leased(run_files(project), f"runs {run}", f"{run}.lease"),
    ):
        yield


def holder(place: RunFiles, name: str = DRIVER) -> str:
    """A description of the process that holds the lease, such as "process 7 on host"; empty where no process does."""
    lease = _read_lease(place, name)
    if not lease or time.time() - lease["at"] > EXPIRY:
        return ""
    if lease["host"] == socket.gethostname() and not _is_alive(int(lease["pid"]), lease.get("process", PROCESS)):
        return ""
    return f"process {lease['pid']} on {lease['host']}"


def _renew(place: RunFiles, name: str, lease: dict[str, Any]) -> None:
    place.write(name, json.dumps({**lease, "at": time.time()}))


def _read_lease(place: RunFiles, name: str) -> dict[str, Any]:
    """The lease; empty without a readable one."""
    try:
        lease = json.loads(place.read(name) or "{}")
        return lease if {"host", "pid", "at", "token"} <= lease.keys() else {}
    except (ValueError, AttributeError):
        return {}


def _is_alive(pid: int, process: str) -> bool:
    if pid == os.getpid():
        return process == PROCESS
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process belongs to another user
        return True
    return True
