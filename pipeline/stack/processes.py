"""Processes by an identity that is never reused, so that a signal reaches the process it is meant for and no other.

Linux gives a process number to another process once the first has ended. Its start, in ticks since the boot, and the boot's own
number tell the two apart. Both are read from /proc.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rdmc.errors import ConfigError

PROC = Path("/proc")
MARK = "STACK_SERVICE"
"""The variable that every process of a service inherits. Its value names the stack's folder and the service."""
SESSION, START = 3, 19
"""Places of a process's session and start in /proc/PID/stat, counted from behind its name (fields 6 and 22 of proc(5))."""
ENDING = 10.0
"""Seconds that the processes of a service may take to end after SIGTERM, once the one that leads them has ended."""
PAUSE = 0.05
"""Seconds between two looks."""


def require_proc() -> None:
    """Raise ConfigError on a system without /proc, where processes cannot be told apart."""
    if not (PROC / "self/stat").exists():
        raise ConfigError(f"{sys.platform}: the stack needs Linux (/proc); use infra/compose.yaml here (docs/cluster.md)")


@dataclass(frozen=True)
class Process:
    """A process that was started: its number, and when it was started in which boot of the machine."""

    pid: int
    identity: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now. Its identity is empty if there is none."""
        return cls(pid, _identity(pid))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs. A process that has ended and was not waited for does not run."""
        return bool(self.identity) and _identity(self.pid) == self.identity

    def send(self, number: int) -> None:
        """Send a signal to this process, or to none if it has ended: the number cannot be given away in between."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def wait(self, seconds: float) -> bool:
        """Wait until this process has ended. Returns whether it has."""
        end = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() >= end:
                return False
            self._rest(min(PAUSE, seconds))
        return True

    def _rest(self, seconds: float) -> None:
        """Sleep, at most until the process ends."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                select.select([handle], [], [], seconds)
            finally:
                os.close(handle)


def marked(mark: str) -> list[Process]:
    """The running processes that inherited ``MARK=mark``, without this one.

    Processes of other users are not found, nor those that overwrote their environment, as PostgreSQL's children do.
    """
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in PROC.iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            process = Process.of(int(folder.name))
            if process.identity and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(process)
    return found


def end_marked(mark: str) -> int:
    """End the processes that inherited a mark: SIGTERM, then SIGKILL for those that stay. Returns how many there were."""
    first = marked(mark)
    for number, seconds in ((signal.SIGTERM, ENDING), (signal.SIGKILL, ENDING)):
        end = time.monotonic() + seconds
        signalled: set[Process] = set()
        while (left := marked(mark)) and time.monotonic() < end:
            for process in set(left) - signalled:  # also those that a process started while it ended
                process.send(number)
            signalled |= set(left)
            left[0].wait(PAUSE)
    return len(first)


def in_session(leader: int) -> list[Process]:
    """The running processes of the session that a process leads or led, without those that have left it."""
    numbers = [int(folder.name) for folder in PROC.iterdir() if folder.name.isdecimal()]
    return [
        process
        for number in numbers
        if _fields(number)[SESSION:][:1] == [str(leader)] and (process := Process.of(number)).identity
    ]


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat that follow the name; empty if there is no such process."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _identity(pid: int) -> str:
    """The boot and the start of a running process; empty if there is none with this number, or it has ended."""
    fields = _fields(pid)
    if not fields or fields[0] in "ZX":
        return ""
    return f"{(PROC / 'sys/kernel/random/boot_id').read_text().strip()}/{fields[START]}"
