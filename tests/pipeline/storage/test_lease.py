"""Leases: other processes are refused while the holder is alive, and get the lease when it is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.lease import DRIVER, EXPIRY, PROCESS, holder, leased, training_lease
from pipeline.storage.runs import RunFiles
from rdmc.errors import ConfigError
from tests.support.data import toy_project


@pytest.fixture
def place(tmp_path: Path) -> RunFiles:
    return RunFiles(str(tmp_path), None)


def test_one_process_at_a_time_holds_the_lease(place: RunFiles) -> None:
    assert holder(place) == ""
    with leased(place):
        assert holder(place) == f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ConfigError, match="drives this sweep; wait for its end") as caught, leased(place):
            pass
        assert "\n" not in str(caught.value)
        assert holder(place), "a refusal leaves the holder its lease"
    assert holder(place) == ""
    with leased(place):
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


def test_the_lease_of_an_earlier_process_with_the_same_number_does_not_count(place: RunFiles) -> None:
    """In a container that is started again the command has the same host and process number."""
    lease(place, process="another")
    assert holder(place) == ""
    lease(place, process=PROCESS)
    assert holder(place) == f"process {os.getpid()} on {socket.gethostname()}"


def test_of_two_processes_that_start_together_the_later_one_holds_the_lease(
    place: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(seconds: float) -> None:
        lease(place, token="of another process that saw no lease either")

    monkeypatch.setattr(time, "sleep", another)
    with pytest.raises(ConfigError, match="started at the same time; wait for its end"), leased(place):
        pass
    assert holder(place), "the other one keeps its lease"


def test_a_project_and_a_run_in_shared_storage_are_trained_by_one_process(tmp_path: Path) -> None:
    shared = Settings(storage=str(tmp_path / "shared"))
    one, two = (toy_project(shared, Paths(tmp_path / name)) for name in ("one", "two"))
    with training_lease(one, "train-a"):
        with pytest.raises(ConfigError, match="runs `train` in this project; wait for its end"), training_lease(one, "train-b"):
            pass
        with pytest.raises(ConfigError, match="runs train-a; wait for its end"), training_lease(two, "train-a"):
            pass
        with training_lease(two, "train-b"), training_lease(one, "search-a"):
            pass
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_two_working_folders_with_one_bucket_are_kept_apart(settings: Settings, tmp_path: Path) -> None:
    """As on two machines, which share nothing else."""
    one, two = (toy_project(settings, Paths(tmp_path / name)) for name in ("one", "two"))
    with training_lease(one, "train-a"):
        with pytest.raises(ConfigError, match="runs train-a; wait for its end"), training_lease(two, "train-a"):
            pass
        with training_lease(two, "train-b"):
            pass
    with training_lease(two, "train-a"):
        pass
