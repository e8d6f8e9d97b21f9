"""Lists of processes that end while they are asked about."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.support.processes import descendants, kill_all, named, running

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that this one has started."""
    with ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(SLEEPS)) for _ in range(2)]
        for process in started:
            stack.callback(process.kill)
        yield started


def test_a_process_that_ends_between_listing_and_asking_is_left_out(children: list[subprocess.Popen[bytes]]) -> None:
    ends, stays = children

    def wanted(process: psutil.Process) -> bool:
        if process.pid == ends.pid:
            ends.kill()
            ends.wait()
        return process.pid in (ends.pid, stays.pid) and "-c" in process.cmdline()

    assert [found.pid for found in descendants(os.getpid(), wanted)] == [stays.pid]
    assert descendants(ends.pid) == [], "a process that has ended has none"


def test_all_are_killed_also_after_one_that_has_ended(children: list[subprocess.Popen[bytes]]) -> None:
    name = psutil.Process(children[0].pid).name()
    found = [process for process in descendants(os.getpid(), named(name)) if process.pid in [one.pid for one in children]]
    assert len(found) == 2
    assert all(map(running, found))
    children[0].kill()
    children[0].wait()
    kill_all(found)
    assert children[1].wait(60) < 0
    assert not any(map(running, found))
