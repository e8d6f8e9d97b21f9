"""Leases: other processes are refused while the holder is alive, and get the lease when it is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage import lease as leases
from pipeline.storage.lease import DRIVER, EXPIRY, PROCESS, holder, leased, training_lease
from pipeline.storage.runs import RunFiles, bucket_files
from pipeline.storage.s3 import Bucket
from rdmc.errors import ConfigError, TrainingError
from tests.support.data import toy_project
from tests.support.imports import ROOT
from tests.support.waiting import PATIENCE, until


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


RACE = """
import random, sys, time
from pathlib import Path
from pipeline.storage import lease as leases
from pipeline.storage.lease import leased
from pipeline.storage.runs import RunFiles, bucket_files
from pipeline.storage.s3 import Bucket
from rdmc.errors import ConfigError
where, board, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
place = RunFiles(where, None) if where.startswith("/") else bucket_files(Bucket(where, "runs"))
write = RunFiles.write

def slowly(files, name, text):
    time.sleep(random.uniform(0, 0.6))
    write(files, name, text)

def all_there(mark):
    while len(list(board.glob(mark))) < 3:
        time.sleep(0.01)

RunFiles.write = slowly
for turn in range(3):
    (board / f"{turn}.ready.{number}").touch()
    all_there(f"{turn}.ready.*")
    try:
        with leased(place, name=f"{turn}.lease"):
            (board / f"{turn}.ended.{number}.held").touch()
            all_there(f"{turn}.ended.*")
    except ConfigError as error:
        assert "drives this sweep; wait for its end" in str(error)
        (board / f"{turn}.ended.{number}.refused").touch()
"""
"""A process that takes three leases one after another with two others, each at the same moment. Its writes take long."""

HOLD = """
import sys, time
from pathlib import Path
from pipeline.storage import lease
from pipeline.storage.runs import RunFiles, bucket_files
from pipeline.storage.s3 import Bucket
from rdmc.errors import RdmcError
where, lease.RENEWAL, lease.EXPIRY = sys.argv[1], 0.2, float(sys.argv[2])
place = RunFiles(where, None) if where.startswith("/") else bucket_files(Bucket(where, "runs"))
try:
    with lease.leased(place):
        print("holds", flush=True)
        time.sleep(600)
        print("was not interrupted")
except RdmcError as error:
    print("error:", error)
"""
"""A process that holds a lease until it loses it."""


@pytest.fixture(params=["folder", "bucket"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, or the name of a bucket of a real server."""
    if request.param == "folder":
        return str(tmp_path / "runs")
    bucket = f"lease-{uuid.uuid4().hex[:12]}"
    request.getfixturevalue("s3").bucket(bucket)
    return bucket


def files(where: str) -> RunFiles:
    return RunFiles(where, None) if where.startswith("/") else bucket_files(Bucket(where, "runs"))


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_of_processes_that_start_together_one_holds_the_lease_however_long_a_write_takes(where: str, tmp_path: Path) -> None:
    board = tmp_path / "board"
    board.mkdir()
    processes = [started(RACE, where, board, number) for number in range(3)]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
    held = [len(list(board.glob(f"{turn}.ended.*.held"))) for turn in range(3)]
    assert held == [1, 1, 1]
    assert files(where).names("") == [], "each gives back its own"


def test_a_process_that_was_suspended_while_another_took_the_lease_ends_and_leaves_it_alone(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expiry = 5.0
    monkeypatch.setattr(leases, "RENEWAL", 0.2)
    monkeypatch.setattr(leases, "EXPIRY", expiry)
    process = started(HOLD, where, expiry)
    try:
        assert process.stdout
        assert process.stdout.readline() == "holds\n"
        process.send_signal(signal.SIGSTOP)
        assert holder(files(where)) == f"process {process.pid} on {socket.gethostname()}", "it has not expired yet"
        until(lambda: not holder(files(where)))
        with leased(files(where)):
            process.send_signal(signal.SIGCONT)
            (line,) = process.communicate(timeout=PATIENCE)[0].splitlines()
            assert holder(files(where)) == f"process {os.getpid()} on {socket.gethostname()}"
    finally:
        process.kill()
    me = f"process {os.getpid()} on {socket.gethostname()}"
    assert line.startswith(f"error: {files(where).path}: {me} drives this sweep: this one could not renew its lease within 5 s")
    assert line.endswith("wait for the other's end, then run the same command again")


def test_a_holder_whose_claim_was_removed_has_lost_the_lease(place: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a process that held the lease in between, and has ended."""
    monkeypatch.setattr(leases, "RENEWAL", 0.05)

    def work() -> None:
        with leased(place):
            place.drop(place.names(DRIVER)[0])
            time.sleep(PATIENCE)

    with pytest.raises(TrainingError, match="another process drives this sweep: this one could not renew its lease"):
        work()
    assert place.names("") == []


def test_two_leases_that_are_lost_at_once_interrupt_once(place: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the second interrupt would break off what the first one's command does at its end."""
    monkeypatch.setattr(leases, "RENEWAL", 0.05)
    cleaned = []

    def work() -> None:
        with leased(place, name="a.lease"), leased(place, name="b.lease"):
            try:
                for file in place.names(""):
                    place.drop(file)
                time.sleep(PATIENCE)
            finally:
                time.sleep(0.5)
                cleaned.append(True)

    for _ in range(2):  # and the next command can be interrupted too
        with pytest.raises(TrainingError, match="could not renew its lease"):
            work()
    assert cleaned == [True, True]


def test_a_loss_that_is_noticed_at_the_end_of_the_block_is_said(place: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    renewing = threading.Event()

    def renew(claim: object) -> str:
        renewing.set()
        time.sleep(0.3)
        return "process 7 on b"

    monkeypatch.setattr(leases, "RENEWAL", 0.05)
    monkeypatch.setattr("pipeline.storage.lease._Claim.renew", renew)
    with pytest.raises(TrainingError, match="process 7 on b drives this sweep"), leased(place):
        renewing.wait(PATIENCE)


def test_a_claim_that_took_long_to_write_is_no_lease_until_it_is_written_again(
    place: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = list[bool](), RunFiles.write

    def slowly(files: RunFiles, name: str, text: str) -> None:
        written.append(bool(json.loads(text)["held"]))
        if written == [False, True]:
            time.sleep(0.6)
        write(files, name, text)

    monkeypatch.setattr(leases, "EXPIRY", 1.0)
    monkeypatch.setattr(RunFiles, "write", slowly)
    with leased(place):
        assert written[:4] == [False, True, False, True]


def test_a_lease_is_read_again_where_it_is_written_just_now(place: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write(DRIVER, '{"host": "a", "p')
    monkeypatch.setattr(time, "sleep", lambda seconds: lease(place))
    assert holder(place) == f"process {os.getpid()} on {socket.gethostname()}"


def test_claims_of_processes_that_are_gone_are_removed(place: RunFiles) -> None:
    lease(place, at=time.time() - EXPIRY - 1)
    with leased(place):
        assert len(place.names(DRIVER)) == 1
    assert place.names("") == []


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
