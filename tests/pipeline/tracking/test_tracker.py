"""The Tracker with real stores: SQLite, a server that goes away and comes back, and one that never answers."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.config.settings import Settings
from pipeline.tracking import tracker as tracking
from pipeline.tracking.client import connect, shown_uri, sqlite_path
from pipeline.tracking.tracker import Tracker
from rdmc.errors import ServiceError
from tests.support.mlflow_server import mlflow_server
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE, hanging_up, until


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that the Tracker prints."""
    lines: list[str] = []
    monkeypatch.setattr(tracking, "say", lines.append)
    return lines


def test_a_run_holds_params_tags_metrics_and_system_metrics(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "SAMPLING", 0.3)
    tracker = Tracker.start(Settings(), "first", {"train.lr": 1e-3, "seed": 0}, {"git.dirty": False})
    for step in (10, 20):
        tracker.log({"loss": 1 / step, "psnr_y": float(step)}, step)
    assert tracker.run_id
    client = MlflowClient(store, store)
    until(lambda: "system/cpu_utilization_percentage" in client.get_run(str(tracker.run_id)).data.metrics)
    tracker.finish()
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params == {"train.lr": "0.001", "seed": "0"}
    assert run.data.tags["git.dirty"] == "False"
    assert [(m.step, m.value) for m in client.get_metric_history(tracker.run_id, "loss/total")] == [(10, 0.1), (20, 0.05)]
    assert run.data.metrics["system/cpu_utilization_percentage"] >= 0
    assert run.info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())

    again = Tracker.start(Settings(), "first", {"seed": 0, "train.lr": 5.0, "new": "x"}, run_id=tracker.run_id)
    again.log({"loss": 0.01}, 30)
    again.finish("FAILED")
    child = Tracker.start(Settings(), "child", {}, parent_run_id=tracker.run_id, run_id="0" * 32)
    child.finish()
    run = client.get_run(tracker.run_id)
    assert again.run_id == tracker.run_id
    assert run.info.status == "FAILED"
    assert run.data.params == {"train.lr": "0.001", "seed": "0", "new": "x"}
    assert run.data.metrics["loss/total"] == 0.01
    assert child.run_id
    assert child.run_id != "0" * 32, "an unknown run id opens a new run"
    assert client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == tracker.run_id
    assert not heard
    assert capfd.readouterr() == ("", ""), "MLflow itself prints nothing"


def history(store: str, run: str | None, metric: str) -> list[tuple[int, float]]:
    """Steps and values of all that a run has of a metric."""
    return sorted((one.step, one.value) for one in MlflowClient(store).get_metric_history(str(run), metric))


def test_a_run_that_was_killed_gets_the_figures_that_it_lacks(store: str) -> None:
    first = Tracker.start(Settings(), "killed", {})
    first.log({"loss": 0.5, "psnr_y": 20.0}, 10)
    rows = [{"step": 10, "loss": 0.5, "psnr_y": 20.0}, {"step": 20, "loss": 0.25}]
    again = Tracker.start(Settings(), "killed", {}, run_id=first.run_id)
    again.complete(rows)
    again.complete(rows)
    again.finish()
    assert history(store, first.run_id, "loss/total") == [(10, 0.5), (20, 0.25)]
    assert history(store, first.run_id, "validation/psnr_y") == [(10, 20.0)]


def test_a_step_that_is_repeated_is_logged_once(store: str) -> None:
    """After the death of a worker within a run, and after that of the command: by a Tracker that resumes the run."""
    first = Tracker.start(Settings(), "repeats", {})
    for step, loss in ((10, 0.5), (20, 0.4), (10, 0.51), (20, 0.41), (30, 0.3)):
        first.log({"loss": loss}, step)
    again = Tracker.start(Settings(), "repeats", {}, run_id=first.run_id)
    for step, loss in ((30, 0.31), (40, 0.2)):
        again.log({"loss": loss, "psnr_y": step}, step)
    again.finish()
    assert history(store, first.run_id, "loss/total") == [(10, 0.5), (20, 0.4), (30, 0.3), (40, 0.2)]
    assert history(store, first.run_id, "validation/psnr_y") == [(30, 30.0), (40, 40.0)]


def test_a_step_that_is_repeated_while_mlflow_is_away_is_logged_once(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    monkeypatch.setattr(tracking, "PAUSES", (PATIENCE, PATIENCE))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none/mlflow.db")
    tracker = Tracker.start(Settings(), "away", {})
    for step, loss in ((10, 0.5), (20, 0.4), (10, 0.51), (20, 0.41)):
        tracker.log({"loss": loss}, step)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    tracker.finish()
    assert tracker.sent
    assert history(store, tracker.run_id, "loss/total") == [(10, 0.5), (20, 0.4)]


def test_what_concludes_a_run_is_replaced_where_it_has_changed(store: str) -> None:
    first = Tracker.start(Settings(), "summary", {})
    first.conclude({"best_psnr_y": 20.0, "trials": 2}, 0)
    again = Tracker.start(Settings(), "summary", {}, run_id=first.run_id)
    again.conclude({"best_psnr_y": 20.0, "trials": 3}, 0)
    again.finish()
    shown = MlflowClient(store).get_run(str(first.run_id)).data.metrics
    assert (shown["validation/best_psnr_y"], shown["trials"]) == (20.0, 3.0)
    assert history(store, first.run_id, "validation/best_psnr_y") == [(0, 20.0)]
    assert history(store, first.run_id, "trials") == [(0, 2.0), (0, 3.0)]


def test_figures_of_a_whole_run_that_were_never_sent_are_counted(monkeypatch: pytest.MonkeyPatch, heard: list[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    tracker = Tracker.start(Settings(mlflow_timeout=1), "summary", {})
    tracker.log({"loss": 0.5}, 1)
    tracker.conclude({"best_psnr_y": 20.0, "trials": 2}, 0)
    tracker.finish()
    assert heard[-1] == "MLflow: 3 figures of summary were never sent"


def test_a_file_that_cannot_be_stored_delays_nothing_else(store: str, tmp_path: Path, heard: list[str]) -> None:
    (tmp_path / "mlartifacts").write_text("a file where a folder should be")
    tracker = Tracker.start(Settings(), "files", {})
    tracker.attach({"a.json": "{}"}, {"later": 1})
    tracker.log({"loss": 0.5}, 1)
    tracker.finish()
    client = MlflowClient(store, store)
    run = client.get_run(str(tracker.run_id))
    assert (run.info.status, run.data.metrics["loss/total"], run.data.params) == ("FINISHED", 0.5, {"later": "1"})
    assert "0 figures and 1 files of files were never sent" in heard[-1]
    (tmp_path / "mlartifacts").unlink()
    tracker.finish()
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["a.json"]


def test_artifacts_are_stored_in_the_bucket(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDMC_BUCKET", "s3://somewhere/rdmc")
    with pytest.raises(KeyboardInterrupt), Tracker.start(Settings(experiment="other"), "bucket", {}) as tracker:
        raise KeyboardInterrupt
    run = MlflowClient(store, store).get_run(str(tracker.run_id))
    assert run.info.status == "KILLED"
    assert run.info.artifact_uri.startswith("s3://somewhere/rdmc/mlflow/")


def test_a_server_that_never_answers_is_asked_rarely(monkeypatch: pytest.MonkeyPatch, heard: list[str]) -> None:
    monkeypatch.setattr(tracking, "PAUSES", (PATIENCE, PATIENCE))
    with hanging_up() as (port, callers):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
        tracker = Tracker.start(Settings(mlflow_timeout=PATIENCE), "lost", {"seed": 0})
        for step in range(200):
            tracker.log({"loss": 1.0}, step)
        tracker.finish()
        assert len(callers) == 2, "once at the start and once at the end: the first pause is not over"
    assert tracker.run_id is None
    assert len(heard) == 2, "one line that it does not answer, one for what was lost"
    assert "200 figures" in heard[1]
    assert not any("secret" in line for line in heard)


@pytest.mark.parametrize("uri", ["http://me:secret@h:port", "http://me:secret@h:99999", "http://[me:secret@", "http://"])
def test_a_bad_address_is_one_line_at_once(uri: str, monkeypatch: pytest.MonkeyPatch, heard: list[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    asked: list[Any] = []
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, lambda *given, **_: asked.append(given))
    for call in (lambda: connect(Settings()), lambda: shown_uri(uri), lambda: sqlite_path(uri)):
        with pytest.raises(ServiceError, match="^MLFLOW_TRACKING_URI: not http") as caught:
            call()
        assert "secret" not in str(caught.value)
    Tracker.start(Settings(), "nowhere", {}).finish()
    assert "the training continues" in heard[0]
    assert asked == [], "at once: it neither looks the name up nor connects"


def test_the_newest_metrics_are_kept_when_the_buffer_is_full(
    port: int, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(tracking, "BUFFER", 10)
    tracker = Tracker.start(Settings(mlflow_timeout=1), "lost", {})
    for step in range(25):
        tracker.log({"loss": float(step)}, step)
    assert [figure[3] for figure in tracker._figures] == list(range(15, 25)), "the newest are kept"
    tracker.finish()
    assert "25 figures" in heard[-1]


def test_a_server_that_comes_back_gets_everything(
    store: str,
    tmp_path: Path,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    heard: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The server is stopped (SIGSTOP), the worst case: it accepts connections, and answers requests much later.

    Only then are the limits short: a server on a busy machine may take seconds for an answer.
    """
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(PATIENCE)))
    monkeypatch.setattr(tracking, "PAUSES", (0.1, 0.2))
    with mlflow_server(store, tmp_path, port) as server:
        with Tracker.start(Settings(mlflow_timeout=PATIENCE), "interrupted", {"seed": 0}) as tracker:
            tracker.log({"loss": 1.0}, 1)
            os.killpg(server.pid, signal.SIGSTOP)
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
            tracker._settings = Settings(mlflow_timeout=1)
            for step in (2, 3, 4):
                tracker.log({"loss": 1 / step}, step)
            assert not tracker.sent
            os.killpg(server.pid, signal.SIGCONT)
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(PATIENCE)))
            tracker._settings = Settings(mlflow_timeout=PATIENCE)
            steps = [1, 2, 3, 4]

            def answers_again() -> bool:
                steps.append(steps[-1] + 1)
                tracker.log({"loss": 0.2}, steps[-1])
                return tracker.sent

            until(answers_again, pause=0.2)
        client = MlflowClient(uri, uri)
        assert [m.step for m in client.get_metric_history(str(tracker.run_id), "loss/total")] == steps
        assert client.get_run(str(tracker.run_id)).info.status == "FINISHED"
        assert len(heard) == 2, "one line that it does not answer, one that it answers again"
        assert "answers again" in heard[1]
    assert capfd.readouterr() == ("", "")


def goes_on(server: int) -> None:
    time.sleep(1.5)
    os.killpg(server, signal.SIGCONT)


def test_the_end_waits_for_a_server_that_comes_back(
    store: str, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(tracking, "LAST", PATIENCE)
    with mlflow_server(store, tmp_path, port) as server, ThreadPoolExecutor(1) as pool:
        with Tracker.start(Settings(mlflow_timeout=PATIENCE), "restarted", {}) as tracker:
            os.killpg(server.pid, signal.SIGSTOP)
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
            tracker._settings = Settings(mlflow_timeout=1)
            tracker.log({"loss": 1.0}, 1)
            assert not tracker.sent
            pool.submit(goes_on, server.pid)
        assert tracker.sent
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(PATIENCE)))
        client = MlflowClient(uri, uri)
        assert client.get_run(str(tracker.run_id)).info.status == "FINISHED"
        assert [metric.step for metric in client.get_metric_history(str(tracker.run_id), "loss/total")] == [1]
    assert heard[0].startswith("MLflow: ")
    assert heard[-1].startswith("MLflow answers again")


def test_the_training_continues_after_a_missing_folder_or_a_bad_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    for uri in (f"sqlite:///{tmp_path}/none/mlflow.db", "gopher://nowhere/x"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        Tracker.start(Settings(), "nowhere", {}).finish()
    assert sum("the training continues" in line for line in heard) == 2
    assert all("\n" not in line for line in heard)
