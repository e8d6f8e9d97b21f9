"""The lock of a sweep: one process at a time may run it.

The holder writes a lease, a small file in the sweep's folder, and renews it every few seconds.
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

from pipeline.storage.runs import RunFiles
from rdmc.errors import ConfigError, ServiceError

DRIVER = "driver.json"
"""The file with the lease."""
RENEWAL = 10.0
"""Seconds between two renewals of the lease."""
EXPIRY = 60.0
"""Age, in seconds, at which a lease expires. On the holder's own host the lease also ends with the holder's process."""


@contextmanager
def locked(place: RunFiles) -> Iterator[None]:
    """Hold the lock of the sweep in ``place`` while the block runs. Raises ConfigError where another process holds it."""
    if other := holder(place):
        raise ConfigError(f"{place.path}: {other} drives this sweep; wait for its end, or end it and run this again")
    lease = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
    _renew(place, lease)
    if _read_lease(place).get("token") != lease["token"]:
        raise ConfigError(f"{place.path}: another process resumed this sweep at the same time; wait for its end")
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWAL):
            with suppress(ServiceError):  # the ledger is written far more often and reports a storage that fails
                _renew(place, lease)

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with suppress(ServiceError):
            place.drop(DRIVER)


def holder(place: RunFiles) -> str:
    """A description of the process that holds the lock, such as "process 7 on host"; empty where no process does."""
    lease = _read_lease(place)
    if not lease or time.time() - lease["at"] > EXPIRY:
        return ""
    if lease["host"] == socket.gethostname() and not _is_alive(int(lease["pid"])):
        return ""
    return f"process {lease['pid']} on {lease['host']}"


def _renew(place: RunFiles, lease: dict[str, Any]) -> None:
    place.write(DRIVER, json.dumps({**lease, "at": time.time()}))


def _read_lease(place: RunFiles) -> dict[str, Any]:
    """The lease; empty without a readable one."""
    try:
        lease = json.loads(place.read(DRIVER) or "{}")
        return lease if {"host", "pid", "at", "token"} <= lease.keys() else {}
    except (ValueError, AttributeError):
        return {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process belongs to another user
        return True
    return True
