"""A signal reaches the process that was meant, and no other that has its number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.stack import processes
from pipeline.stack.processes import MARK, Process, end_marked, in_session, marked, require_proc
from rdmc.errors import ConfigError
from tests.support.waiting import until

SLEEP = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
FORKS = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); time.sleep(600)"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as running:
        yield running
        running.kill()


def test_a_process_is_known_by_its_start(child: subprocess.Popen[bytes]) -> None:
    process = Process.of(child.pid)
    assert process.alive
    assert process == Process.of(child.pid)
    assert process.identity != Process.of(os.getpid()).identity


def test_a_number_that_another_process_has_now_gets_no_signal(child: subprocess.Popen[bytes]) -> None:
    earlier = Process(child.pid, Process.of(child.pid).identity + "0")
    assert not earlier.alive
    earlier.send(signal.SIGKILL)
    assert not earlier.wait(0) or child.poll() is None
    assert Process.of(child.pid).alive


def test_a_process_that_ended_is_not_alive_before_it_was_waited_for(child: subprocess.Popen[bytes]) -> None:
    process = Process.of(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    assert process.wait(60)
    assert not process.alive
    process.send(signal.SIGKILL)  # to none


def test_waiting_ends_in_time(child: subprocess.Popen[bytes]) -> None:
    assert not Process.of(child.pid).wait(0.01)


def test_what_a_service_started_is_found_by_its_mark_and_ended_even_if_it_ignores_sigterm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "ENDING", 1.0)
    mark = f"/none/.stack:test-{os.getpid()}"
    environment = {**os.environ, MARK: mark}
    with (
        subprocess.Popen([sys.executable, "-c", FORKS], env=environment) as parent,
        subprocess.Popen([sys.executable, "-c", STUBBORN], env=environment, stdout=subprocess.PIPE) as stubborn,
    ):
        assert stubborn.stdout
        stubborn.stdout.readline()
        until(lambda: len(marked(mark)) == 3)
        assert end_marked(mark) == 3
        assert marked(mark) == []
        assert (parent.wait(60), stubborn.wait(60)) == (-signal.SIGTERM, -signal.SIGKILL)


def test_a_mark_that_begins_like_another_is_another(child: subprocess.Popen[bytes]) -> None:
    environment = {**os.environ, MARK: "/none/.stack:service-1"}
    with subprocess.Popen([sys.executable, "-c", SLEEP], env=environment) as other:
        until(lambda: marked("/none/.stack:service-1"))
        assert marked("/none/.stack:service") == []
        assert end_marked("/none/.stack:service") == 0
        assert other.poll() is None
        other.kill()


def test_the_processes_of_a_session_are_found_after_its_leader() -> None:
    with subprocess.Popen([sys.executable, "-c", FORKS], start_new_session=True) as leader:
        until(lambda: len(in_session(leader.pid)) == 2)
        leader.kill()
        leader.wait(60)
        (left,) = in_session(leader.pid)
        left.send(signal.SIGKILL)
        until(lambda: not in_session(leader.pid))


def test_a_system_without_proc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_proc()
    monkeypatch.setattr(processes, "PROC", processes.PROC / "absent")
    with pytest.raises(ConfigError, match="the stack needs Linux"):
        require_proc()
