"""Ctrl-C and SIGTERM in real commands: the line, the exit code, the end of Ray's processes, MLflow's status, resuming."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipeline import signals
from pipeline.config.paths import Paths
from tests.support.data import ready_to_train
from tests.support.imports import ROOT
from tests.support.ports import free_port
from tests.support.processes import descendants, named, running
from tests.support.waiting import PATIENCE, until

STOPS = [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)]
patient = pytest.mark.timeout(4 * PATIENCE)
each_signal = pytest.mark.parametrize(("number", "name", "code"), STOPS, ids=["SIGINT", "SIGTERM"])
LONG = {
    "train.steps": 100_000,
    "train.validate_every": 2,
    "tune.trials": 2,
    "tune.concurrent": 2,
    "tune.steps": 100_000,
    "tune.grace_steps": 50_000,
}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A folder with pairs to train on and params of a training and of a sweep that never end by themselves."""
    return ready_to_train(tmp_path, LONG)


@contextmanager
def command(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a command of the pipeline in a session of its own, as a terminal does, with what it prints in a file."""
    variables = {**os.environ, "RDMC_DATA": str(folder), "RDMC_GPU": "false", "RDMC_WORKERS": "1", **environment}
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments], cwd=ROOT, env=variables, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


def await_text(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    def said() -> bool:
        assert process.poll() is None, log.read_text()
        return text in log.read_text()

    until(said)


def stop(process: subprocess.Popen[bytes], number: signal.Signals, whole_group: bool = False) -> int:
    """Send the signal, wait for the end of the command and of all processes that it started; return its exit code."""
    return ended(process, lambda: (os.killpg if whole_group else os.kill)(process.pid, number))


def ended(process: subprocess.Popen[bytes], end: Callable[[], None]) -> int:
    """Call ``end``, wait for the end of the command and of all processes that it started; return its exit code."""
    family = descendants(process.pid)
    end()
    code = process.wait(PATIENCE)
    alive = psutil.wait_procs(family, PATIENCE)[1]
    assert [one for one in alive if running(one)] == []
    return code


def statuses(store: str) -> list[str]:
    client = MlflowClient(store)
    return [run.info.status for run in client.search_runs([found.experiment_id for found in client.search_experiments()])]


@pytest.mark.slow
@patient
@each_signal
def test_a_stopped_training_says_so_is_killed_in_mlflow_and_resumes(
    paths: Paths, store: str, number: signal.Signals, name: str, code: int
) -> None:
    train = ("train", "--params", str(paths.root / "params.yaml"))
    with command(paths.root, *train) as (process, log):
        await_text(process, log, "step 4/")
        assert stop(process, number, whole_group=number == signal.SIGINT) == code, "a terminal sends Ctrl-C to the group"
        last = log.read_text().splitlines()[-1]
    step = int(last.split("step ")[1].split()[0])
    assert last == f"stopped by {name}; run the same command again, it resumes from step {step} of 100000"
    assert step >= 4
    assert "Traceback" not in log.read_text()
    assert statuses(store) == ["KILLED"]
    with command(paths.root, *train) as (process, log):
        await_text(process, log, f"resumes from step {step} of 100000: {paths.runs}")
        await_text(process, log, f"step {step + 2}/")
        assert statuses(store) == ["RUNNING"], "in the same run"
        assert stop(process, number) == code
    assert statuses(store) == ["KILLED"]


@pytest.mark.slow
@patient
@each_signal
def test_a_training_that_is_stopped_while_it_starts_says_so(
    paths: Paths, store: str, number: signal.Signals, name: str, code: int
) -> None:
    with command(paths.root, "train", "--params", str(paths.root / "params.yaml")) as (process, log):
        until(lambda: descendants(process.pid, named("gcs_server")), pause=0.02)  # Ray is starting
        assert stop(process, number) == code
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"stopped by {name}; run the same command again")


@pytest.mark.slow
@patient
def test_a_training_that_has_lost_its_lease_ends_with_an_error_of_one_line(paths: Paths, store: str) -> None:
    with command(paths.root, "train", "--params", str(paths.root / "params.yaml")) as (process, log):
        await_text(process, log, "step 4/")
        (claim,) = paths.runs.glob("train.lease.*")
        assert ended(process, claim.unlink) == 1
        last = log.read_text().splitlines()[-1]
    assert last.startswith(
        f"error: {paths.runs}: another process runs `train` in this project: this one could not renew its lease"
    )
    assert "Traceback" not in log.read_text()
    assert list(paths.runs.glob("*.lease.*")) == [], "each lease of its own was given back"


@pytest.mark.slow
@patient
@each_signal
def test_a_stopped_sweep_names_the_command_that_resumes_it(
    paths: Paths, store: str, number: signal.Signals, name: str, code: int
) -> None:
    with command(paths.root, "tune", "--params", str(paths.root / "params.yaml")) as (process, log):
        await_text(process, log, "trial-0  step ")
        assert stop(process, number, whole_group=number == signal.SIGINT) == code
        last = log.read_text().splitlines()[-1]
    (ledger,) = paths.runs.glob("tune-*/ledger.json")
    assert last == f"stopped by {name}; `python -m pipeline tune --resume` resumes {ledger.parent.name}"
    assert "Traceback" not in log.read_text()
    assert set(statuses(store)) == {"KILLED"}


@pytest.mark.slow
@patient
@each_signal
def test_a_stopped_server_ends_in_silence(tmp_path: Path, number: signal.Signals, name: str, code: int) -> None:
    with command(tmp_path, "serve", "--model", "reference", "--port", str(free_port())) as (process, log):
        await_text(process, log, "\nlog: ")
        shown = log.read_text()
        assert stop(process, number, whole_group=number == signal.SIGINT) == 0
        assert log.read_text() == shown


def test_an_ignored_sigterm_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        signals.stop_by_sigterm()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_can_interrupt_the_command(sigterm_stops: None) -> None:

    def wait_for_the_interrupt() -> None:
        threading.Timer(0.1, signals.interrupt).start()
        threading.Event().wait(PATIENCE)

    for ignored in (signal.SIGINT, signal.SIGTERM):  # as in the background of a script
        before = signal.signal(ignored, signal.SIG_IGN)
        try:
            with pytest.raises(KeyboardInterrupt):
                wait_for_the_interrupt()
        finally:
            signal.signal(ignored, before)


@pytest.fixture
def sigterm_stops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SIGTERM as the command line has it."""
    monkeypatch.setattr(signals, "_received", [])
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signals.stop_by_sigterm()
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_signal_decides_line_and_code(sigterm_stops: None) -> None:
    assert signals.last_words(SystemExit(130)) == (f"stopped by Ctrl-C; {signals.ADVICE}", 130)
    with pytest.raises(KeyboardInterrupt) as caught:
        signal.raise_signal(signal.SIGTERM)
    caught.value.add_note("resume it")
    assert signals.last_words(caught.value) == ("stopped by SIGTERM; resume it", 143)
    end = SystemExit(130)
    end.__cause__ = caught.value
    assert signals.last_words(end) == ("stopped by SIGTERM; resume it", 143)


def test_what_ray_does_with_the_handlers_is_undone(sigterm_stops: None) -> None:
    with signals.own_handlers():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), signals.own_handlers():
        sys.exit(15)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(SystemExit), signals.own_handlers():
        sys.exit(15)
