"""Leases in Ray's storage: one process at a time may run a sweep, or train a project.

The holder writes a lease, a small file, and renews it every few seconds. It works in a folder and in a bucket, so it also keeps
apart the machines of a cluster. It needs no more than a storage in which a file that was written can be listed and read.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.console import say
from pipeline.signals import interrupt
from pipeline.storage.runs import RunFiles, run_files
from rdmc.errors import ConfigError, ServiceError, TrainingError

DRIVER = "driver.json"
"""The file with the lease of a sweep, in the sweep's folder."""
RENEWAL = 10.0
"""Seconds between two renewals of the lease."""
EXPIRY = 60.0
"""Age, in seconds, at which a lease expires. On the holder's own host the lease also ends with the holder's process."""
SETTLING = 0.2
"""Seconds between two reads of leases where something is to change in them."""
READS = 5
"""How often a lease that cannot be read is read."""
WAITS = 25
"""After so many of them, a process that waits for another says so."""
_interrupted = threading.Lock()
"""Held from an interrupt to the end of its block: a second lease that is lost must not break off the clean-up."""
PROCESS = secrets.token_hex(8)
"""Tells this process from an earlier one with the same number, as in a container that was started again."""


@contextmanager
def leased(place: RunFiles, doing: str = "drives this sweep", name: str = DRIVER) -> Iterator[None]:
    """Hold the lease ``name`` in ``place`` while the block runs.

    Raises ConfigError, which says what the other process is ``doing``, where another process holds it; TrainingError where
    another process took it over during the block, which then is interrupted as by Ctrl-C.
    """
    claim = _Claim(place.at_once(), name)  # a lease that is written late is worth nothing
    try:
        if other := claim.enter():
            raise ConfigError(f"{place.path}: {other} {doing}; wait for its end, or end it and run this again")
        with _renewed(claim, doing):
            yield
    finally:
        with suppress(ServiceError):
            claim.drop()


@contextmanager
def _renewed(claim: _Claim, doing: str) -> Iterator[None]:
    """Renew a lease in a thread while the block runs. Where it is lost, interrupt the block and raise TrainingError."""
    ended, path = threading.Event(), claim.place.path
    lost: list[str] = []
    interrupts = threading.Event()

    def renew() -> None:
        fails = False
        while not ended.wait(RENEWAL):
            try:
                other = claim.renew()
            except ServiceError as error:
                if not fails:
                    say(f"warning: {error}; what runs here tries again for RDMC_OUTAGE seconds")
                fails = True
                continue
            if fails:
                say(f"{path} can be written again")
            fails = False
            if other:
                lost.append(other)
                if _interrupted.acquire(blocking=False):
                    interrupts.set()
                    interrupt()
                return

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        try:
            renewing.join()
        finally:  # the interrupt may come only now
            if interrupts.is_set():
                _interrupted.release()
            if lost:
                raise TrainingError(
                    f"{path}: {lost[0]} {doing}: this one could not renew its lease within {EXPIRY:.0f} s and lost it; "
                    "wait for the other's end, then run the same command again"
                )


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
    return next((_described(lease) for lease in _leases(place, name).values() if _counts(lease)), "")


class _Claim:
    """A process's claim to a lease: a file of its own, so that no process writes over another's.

    A process first writes its claim and then reads those of others. So of two processes at least one sees the other, however
    long a write takes. A claim is `held` once its process has seen no other one; before that, the earlier one comes first.
    """

    def __init__(self, place: RunFiles, name: str) -> None:
        self.place, self.name, self.token = place, name, secrets.token_hex(8)
        self.file = f"{name}.{self.token}"
        self.since = self.at = time.time()
        """When the claim was made, and last written."""

    def enter(self) -> str:
        """Take the lease. Returns the process that has it instead, or comes first; empty where this one has it now."""
        waits = 0
        while True:
            self._write(held=False)
            others = self._others()
            if before := [lease for lease in others if _is_held(lease) or _order(lease) < self._order]:
                return _described(before[0])
            if not others and self._fresh:
                self._write(held=True)
                if self._fresh:
                    return ""
            waits += 1
            if others and waits == WAITS:
                say(f"{self.place.path}: waits for {_described(others[0])}, which started at the same time")
            time.sleep(SETTLING)  # the others give way

    def renew(self) -> str:
        """Write the claim again. Returns the process that has the lease now, if it is another one."""
        if self.file not in self.place.names(self.name):  # another took it for expired, and may have held the lease
            return next(map(_described, self._others()), "another process")
        if not self._fresh:
            return self.enter()
        self._write(held=True)
        later = [lease for lease in self._others() if _is_held(lease) and _order(lease) > self._order]
        return _described(later[0]) if later else ""

    def drop(self) -> None:
        """Give the lease back."""
        self.place.drop(self.file)

    @property
    def _fresh(self) -> bool:
        """Whether it cannot have expired for others, whose clocks may be ahead. A write can take long."""
        return time.time() - self.at <= EXPIRY / 2

    @property
    def _order(self) -> tuple[float, str]:
        return self.since, self.token

    def _write(self, held: bool) -> None:
        about = {"host": socket.gethostname(), "pid": os.getpid(), "process": PROCESS, "token": self.token}
        at = time.time()
        self.place.write(self.file, json.dumps({**about, "since": self.since, "at": at, "held": held}))
        self.at = at

    def _others(self) -> list[dict[str, Any]]:
        """The claims of others that count. Those that do not are removed."""
        others = _leases(self.place, self.name, self.file)
        for file, lease in others.items():
            if not _counts(lease):
                self.place.drop(file)
        return [lease for lease in others.values() if _counts(lease)]


def _leases(place: RunFiles, name: str, but: str = "") -> dict[str, dict[str, Any]]:
    """All claims to a lease that can be read, by file, except that in the file ``but``."""
    read = {file: _read_lease(place, file) for file in place.names(name) if file != but}
    return {file: lease for file, lease in read.items() if lease}


def _read_lease(place: RunFiles, file: str) -> dict[str, Any]:
    """A claim; empty without a readable one. Some servers show a file that is written just now in part: it is read again."""
    for _ in range(READS):
        with suppress(ValueError, AttributeError):
            text = place.read(file)
            if text is None:
                break
            lease = json.loads(text)
            if {"host", "pid", "at", "token"} <= lease.keys():
                return dict(lease)
        time.sleep(SETTLING)
    return {}


def _counts(lease: Mapping[str, Any]) -> bool:
    """Whether the process of a claim may still be there."""
    if time.time() - lease["at"] > EXPIRY:
        return False
    return lease["host"] != socket.gethostname() or _is_alive(int(lease["pid"]), lease.get("process", PROCESS))


def _is_held(lease: Mapping[str, Any]) -> bool:
    return bool(lease.get("held", True))


def _order(lease: Mapping[str, Any]) -> tuple[float, str]:
    return float(lease.get("since", lease["at"])), str(lease["token"])


def _described(lease: Mapping[str, Any]) -> str:
    return f"process {lease['pid']} on {lease['host']}"


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
