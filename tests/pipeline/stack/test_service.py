"""A service is started, kept, started again and stopped, with real small processes."""

from __future__ import annotations

import os
import signal
import socket
import sys
from dataclasses import replace

import pytest

from pipeline.stack.processes import Process, marked
from pipeline.stack.service import RUNNING, SILENT, STOPPED, EndedError, Service, bring_down, bring_up, condition, inherited
from pipeline.stack.state import State
from rdmc.errors import ConfigError, ServiceError
from tests.support.ports import free_port

SERVER = """
import os, socket, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("the secret is", "there" if os.environ.get("TOY_SECRET") == "hush" else "missing", flush=True)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        server.accept()[0].close()
"""


def toy(port: int, code: str = SERVER) -> Service:
    """A server with a child process."""

    def ready() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    command = (sys.executable, "-c", code, str(port))
    return Service("toy", f"127.0.0.1:{port}", command, {"TOY_SECRET": "hush"}, {"toy": port}, ready, start_seconds=60)


def pid(state: State) -> int:
    process = state.process("toy")
    assert process
    return process.pid


def test_a_service_is_started_once_and_stops_with_its_children(state: State) -> None:
    service = toy(free_port())
    assert condition(service, state) == STOPPED
    assert bring_up(service, state)
    assert condition(service, state) == RUNNING
    assert "the secret is there" in state.log("toy").read_text()
    first = pid(state)
    assert not bring_up(service, state), "it runs"
    assert pid(state) == first
    assert len(marked(state.mark("toy"))) == 2
    assert bring_down(state, "toy")
    assert marked(state.mark("toy")) == []
    assert condition(service, state) == STOPPED
    assert not bring_down(state, "toy")


def test_a_killed_service_is_started_again_and_what_it_left_is_ended(state: State) -> None:
    service = toy(free_port())
    bring_up(service, state)
    first, (child,) = pid(state), [found for found in marked(state.mark("toy")) if found.pid != pid(state)]
    os.kill(first, signal.SIGKILL)
    assert Process.of(first).wait(60)
    assert child.alive
    assert bring_up(service, state)
    assert pid(state) != first
    assert not child.alive
    assert state.log("toy").with_suffix(".log.old").exists(), "why the first one ended can be read"


def test_a_process_that_has_the_number_of_a_service_of_an_earlier_boot_is_left_alone(state: State) -> None:
    state.keep_process("toy", Process(os.getpid(), "an-earlier-boot/1"), signal.SIGKILL)
    assert not bring_down(state, "toy")
    assert bring_up(toy(free_port()), state)


def test_a_taken_port_is_one_line_that_names_port_service_and_setting(state: State) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError) as error:
            bring_up(toy(number), state)
    message = f"port {number} of 127.0.0.1: another program has it, and toy needs it; "
    assert str(error.value).startswith(message)
    assert str(error.value).endswith("--port toy=NUMBER")
    assert state.process("toy") is None


def test_a_service_that_ends_as_it_starts_is_tried_again_and_then_one_line_with_its_last_words(state: State) -> None:
    tries = state.root / "tries"
    code = f"open({str(tries)!r}, 'a').write('x'); raise SystemExit('no room\\n')"
    with pytest.raises(EndedError, match=r"toy ended as it started \(no room\); read .*toy\.log"):
        bring_up(replace(toy(free_port(), code), tries=2), state)
    assert tries.read_text() == "xx"


def test_a_service_that_never_answers_is_one_line_and_its_process_stays_for_a_look(state: State) -> None:
    service = replace(toy(free_port(), "import time; time.sleep(600)"), start_seconds=0.5)
    with pytest.raises(ServiceError, match="toy is not ready after 0.5 s"):
        bring_up(service, state)
    assert condition(service, state) == SILENT


def test_a_program_that_does_not_exist_is_one_line(state: State) -> None:
    with pytest.raises(ServiceError, match="toy: .*No such file"):
        bring_up(replace(toy(free_port()), command=("/none/program",)), state)


def test_the_followers_of_a_service_are_stopped_before_it_is_started(state: State) -> None:
    follower = toy(free_port())
    bring_up(follower, state)
    leader = replace(toy(free_port()), name="s3", followers=("toy",))
    bring_up(leader, state)
    assert condition(follower, state) == STOPPED


def test_a_users_own_settings_do_not_reach_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RDMC_BUCKET", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "AWS_PROFILE", "PGHOST"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("LANG", "C")
    assert "elsewhere" not in inherited().values()
    assert inherited()["LANG"] == "C"
