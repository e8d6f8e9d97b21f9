"""The UI's links and environment, and the ports that a server can listen on."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import pytest

from pipeline.config.settings import Settings
from pipeline.tracking import ui
from pipeline.tracking.client import connect, experiment_id
from pipeline.tracking.ui import check_port, pages_here
from rdmc.errors import ServiceError
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("host", "message"),
    [("no.such.host.invalid", "name an address of this machine"), ("192.0.2.1", "no address of this machine")],
)
def test_a_host_that_is_not_this_machine_is_refused(host: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        check_port(8000, host)
    assert "port" not in str(caught.value), "another port would not help"


def test_a_taken_port_is_refused_and_a_free_one_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port} of localhost: .*; take a free one"):
            check_port(port, "localhost", "`--port 8001`")
    check_port(port, "127.0.0.1")


def test_the_ui_links_to_experiment_run_and_model_and_sends_no_usage_data(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    client = connect(Settings())
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    at = experiment_id(client, Settings())
    runs = [client.create_run(at, tags={"stage": stage}).info.run_id for stage in ("train", "trial")]
    for name in ("rain", "rain-history"):
        client.create_registered_model(name)
    port = free_port()
    ui.run(Settings(), port)
    ((program, command, environment),) = started
    assert (program, command[:4]) == (sys.executable, [sys.executable, "-m", "mlflow", "ui"])
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    shown = capsys.readouterr().out
    for page in (f"experiments/{at}/runs?", f"experiments/{at}/runs/{runs[0]}?", "models/rain?"):
        assert f" http://127.0.0.1:{port}/#/{page}workflowType=machine_learning\n" in shown
    assert set(pages_here(Settings())) == {"experiment", "newest run", "model rain"}, "neither the trial nor the history"
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    ui.run(Settings(), port)
    assert started[1][2]["MLFLOW_DISABLE_TELEMETRY"] == "false", "whoever sets it decides"


def test_a_store_without_runs_has_no_pages_and_stays_as_it_is(store: str) -> None:
    assert pages_here(Settings()) == {}
    assert connect(Settings()).get_experiment_by_name(Settings().experiment) is None
