"""Processes of a test's commands. Any of them may end between two questions, and psutil then raises an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil


def descendants(pid: int, wanted: Callable[[psutil.Process], bool] = lambda process: True) -> list[psutil.Process]:
    """The processes that process ``pid`` started, and those that they started, for which ``wanted`` holds.

    Those that end meanwhile are left out.
    """
    found: list[psutil.Process] = []
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                if wanted(process):
                    found.append(process)
    return found


def named(name: str) -> Callable[[psutil.Process], bool]:
    """For ``descendants``: whether a process has this name."""
    return lambda process: process.name() == name


def running(process: psutil.Process) -> bool:
    """Whether a process still runs; one that has ended and that nobody has waited for does not."""
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, as far as they still run."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
