"""A sweep's lock: other processes are refused while its holder is alive, and get the lock when it is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.experiments.sweep.lock import DRIVER, EXPIRY, holder, locked
from pipeline.storage.runs import RunFiles
from rdmc.errors import ConfigError


@pytest.fixture
def place(tmp_path: Path) -> RunFiles:
    return RunFiles(str(tmp_path), None)


def test_one_process_at_a_time_holds_the_lock(place: RunFiles) -> None:
    assert holder(place) == ""
    with locked(place):
        assert holder(place) == f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ConfigError, match="drives this sweep; wait for its end") as caught, locked(place):
            pass
        assert "\n" not in str(caught.value)
        assert holder(place), "a refusal leaves the holder its lock"
    assert holder(place) == ""
    with locked(place):
        pass


def lease(place: RunFiles, **changes: object) -> None:
    known = {"host": socket.gethostname(), "pid": os.getpid(), "token": "x", "at": time.time()}
    place.write(DRIVER, json.dumps({**known, **changes}))


def test_the_lease_of_a_process_that_is_gone_does_not_count(place: RunFiles) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lease(place, pid=ended.pid)
    assert holder(place) == "", "its process on this host is gone"
    lease(place, host="elsewhere", pid=ended.pid)
    assert holder(place) == f"process {ended.pid} on elsewhere"
    lease(place, host="elsewhere", at=time.time() - EXPIRY - 1)
    assert holder(place) == "", "it has expired"
    place.write(DRIVER, "{")
    assert holder(place) == ""
