"""One driver a sweep: others are refused while it lives, and may go on when it is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.experiments.sweep.lock import DRIVER, LATE, driven, driver_of
from pipeline.storage.runs import RunFiles
from rdmc.errors import ConfigError


@pytest.fixture
def place(tmp_path: Path) -> RunFiles:
    return RunFiles(str(tmp_path), None)


def test_one_at_a_time(place: RunFiles) -> None:
    assert driver_of(place) == ""
    with driven(place):
        assert driver_of(place) == f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ConfigError, match="drives this sweep; wait for its end") as caught, driven(place):
            pass
        assert "\n" not in str(caught.value)
        assert driver_of(place), "a refusal ends nobody's hold"
    assert driver_of(place) == ""
    with driven(place):
        pass


def sign(place: RunFiles, **changes: object) -> None:
    known = {"host": socket.gethostname(), "pid": os.getpid(), "token": "x", "at": time.time()}
    place.write(DRIVER, json.dumps({**known, **changes}))


def test_who_is_gone_holds_nothing(place: RunFiles) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    sign(place, pid=ended.pid)
    assert driver_of(place) == "", "killed here"
    sign(place, host="elsewhere", pid=ended.pid)
    assert driver_of(place) == f"process {ended.pid} on elsewhere"
    sign(place, host="elsewhere", at=time.time() - LATE - 1)
    assert driver_of(place) == "", "silent for too long"
    place.write(DRIVER, "{")
    assert driver_of(place) == ""
