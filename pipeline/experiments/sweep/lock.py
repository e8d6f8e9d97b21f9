"""Who drives a sweep: one process at a time, which says so in the sweep's folder every few seconds."""

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
BEAT = 10.0
"""Seconds between two signs of life."""
LATE = 60.0
"""Seconds without one after which a driver elsewhere counts as gone; here it is looked for among the processes."""


@contextmanager
def driven(place: RunFiles) -> Iterator[None]:
    """Hold a sweep for as long as the block lasts. Raises ConfigError where another process holds it."""
    if other := driver_of(place):
        raise ConfigError(f"{place.path}: {other} drives this sweep; wait for its end, or end it and run this again")
    sign = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
    _beat(place, sign)
    if _sign_of(place).get("token") != sign["token"]:
        raise ConfigError(f"{place.path}: another process took this sweep up at the same time; it goes on, this one ends")
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(BEAT):
            with suppress(ServiceError):  # the ledger, which is written far more often, tells of a storage that fails
                _beat(place, sign)

    beating = threading.Thread(target=go_on, name="beat", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with suppress(ServiceError):
            place.drop(DRIVER)


def driver_of(place: RunFiles) -> str:
    """Which process drives a sweep now, for a person; empty where none does."""
    sign = _sign_of(place)
    if not sign or time.time() - sign["at"] > LATE:
        return ""
    if sign["host"] == socket.gethostname() and not _lives(int(sign["pid"])):
        return ""
    return f"process {sign['pid']} on {sign['host']}"


def _beat(place: RunFiles, sign: dict[str, Any]) -> None:
    place.write(DRIVER, json.dumps({**sign, "at": time.time()}))


def _sign_of(place: RunFiles) -> dict[str, Any]:
    """The last sign of life; empty without a readable one."""
    try:
        found = json.loads(place.read(DRIVER) or "{}")
        return found if {"host", "pid", "at", "token"} <= found.keys() else {}
    except (ValueError, AttributeError):
        return {}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
