"""The connection to MLflow: its checks, its addresses without secrets, and its requests."""

from __future__ import annotations

import math
import os
import queue
import socket
import threading
from pathlib import Path

import pytest
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

from pipeline.config.settings import Settings
from pipeline.tracking.client import (
    as_text,
    check_reachable,
    connect,
    experiment_id,
    knows_run,
    leave,
    send_metrics,
    send_params,
    shown_uri,
    sqlite_path,
)
from rdmc.errors import ServiceError, one_line
from tests.support.waiting import PATIENCE


class Waited(queue.Queue[str]):
    """A queue that notes how long its readers would wait."""

    def __init__(self, waits: list[float]) -> None:
        super().__init__()
        self.waits = waits

    def get(self, block: bool = True, timeout: float | None = None) -> str:
        self.waits.append(math.inf if timeout is None else timeout)
        return super().get(block, timeout)


def test_a_server_that_accepts_but_never_answers_costs_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        waits: list[float] = []
        monkeypatch.setattr("pipeline.tracking.client.queue.Queue", lambda: Waited(waits))
        with pytest.raises(ServiceError, match="cannot be reached"):
            check_reachable(Settings(mlflow_timeout=0.5))
        assert waits == [0.5], "by the seconds that it asks for: those that pass depend on the machine's load"


def test_a_server_that_speaks_no_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{other.getsockname()[1]}")

        def greet() -> None:
            found, _ = other.accept()
            with found:
                found.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                found.recv(1000)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ServiceError, match="no HTTP server: BadStatusLine"):
            check_reachable(Settings(mlflow_timeout=PATIENCE))
        thread.join()


def test_an_impossible_host_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{'a' * 64}.example")
    with pytest.raises(ServiceError, match="cannot be reached"):
        check_reachable(Settings(mlflow_timeout=PATIENCE))


def test_passwords_do_not_reach_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:5000")
    assert one_line(OSError("no\n http://me:secret@127.0.0.1:5000/api")) == "no http://127.0.0.1:5000/api"
    assert (
        one_line(OSError("models:/rdmc@candidate of me:secret@db, http://token@h")) == "models:/rdmc@candidate of db, http://h"
    )


def test_connect_gives_a_client(store: str) -> None:
    assert connect(Settings()).get_experiment("0").name == "Default"


@pytest.mark.usefixtures("alone")
def test_requests_have_the_longest_timeout_of_the_clients_in_use(store: str) -> None:
    short = connect(Settings(), 4.2)
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 5
    long, longer = connect(Settings()), connect(Settings(), 200)
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 200
    leave(longer)
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 120
    leave(long)
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 5
    leave(short)
    forgotten = connect(Settings(), 60)
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 60
    del forgotten
    leave(connect(Settings(), 30))
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 30, "a client that is gone is not in use"
    assert MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 1
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ, "a child process would take it for the user's"


@pytest.mark.usefixtures("alone")
def test_the_users_own_timeout_counts_before_all_others(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    leave(connect(Settings(), 200))
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 7


def test_an_address_is_shown_without_user_password_and_query() -> None:
    assert shown_uri("http://me:secret@host:5000/x?token=secret") == "http://host:5000/x"
    assert shown_uri("sqlite:///mlflow.db") == "sqlite:///mlflow.db"


def test_only_a_sqlite_store_is_a_file() -> None:
    assert sqlite_path("sqlite:////data/mlflow.db") == Path("/data/mlflow.db")
    assert sqlite_path("http://host:5000") is None


def test_params_are_logged_once_and_metrics_may_be_sent_again(store: str) -> None:
    settings = Settings(experiment="new")
    client = connect(settings)
    experiment = experiment_id(client, settings)
    assert experiment_id(client, settings) == experiment, "the experiment is created once"
    assert client.get_experiment(experiment).tags["mlflow.experimentKind"] == "custom_model_development"
    run_id = client.create_run(experiment).info.run_id
    send_params(client, run_id, {f"p{number}": number for number in range(150)}, {"git.dirty": False})
    send_params(client, run_id, {"p0": "other", "late": 1}, {})
    for _ in range(2):
        send_metrics(client, run_id, [("loss", 0.5, 1, step) for step in range(3)])
    data = client.get_run(run_id).data
    assert (len(data.params), data.params["p0"], data.params["late"]) == (151, "0", "1")
    assert data.tags["git.dirty"] == "False"
    assert [metric.step for metric in client.get_metric_history(run_id, "loss")] == [0, 1, 2]


def test_an_experiment_made_elsewhere_is_tagged_unless_it_has_a_kind(store: str) -> None:
    settings = Settings(experiment="old")
    client = connect(settings)
    made = client.create_experiment("old")
    for kind, expected in (("", "custom_model_development"), ("finetuning", "finetuning")):
        client.set_experiment_tag(made, "mlflow.experimentKind", kind)
        assert experiment_id(client, settings) == made
        assert client.get_experiment(made).tags["mlflow.experimentKind"] == expected


def test_a_deleted_or_unknown_run_is_not_known(store: str) -> None:
    client = connect(Settings())
    run_id = client.create_run("0").info.run_id
    assert knows_run(client, run_id)
    client.delete_run(run_id)
    assert not knows_run(client, run_id)
    assert not knows_run(client, "0" * 32)


def test_tags_are_text() -> None:
    assert as_text({"a": 1, "b": True}) == {"a": "1", "b": "True"}
