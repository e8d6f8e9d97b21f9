"""A Tracker that opens its run through a proxy that answers too late, or not at all: one run, whatever was carried out."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.config.settings import Settings
from pipeline.tracking import tracker as tracking
from pipeline.tracking.tracker import Tracker
from tests.support.mlflow_server import mlflow_server
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE, until


class Proxy(ThreadingHTTPServer):
    """Passes requests on to an MLflow server; what it does with those that create a run, a test chooses."""

    def __init__(self, server: int) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.server, self.creations = server, 0
        self.create: Callable[[Passing, int], None] = lambda request, _: request.answer(request.forward())

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(BaseHTTPRequestHandler):
    """A request and its answer."""

    server: Proxy

    def forward(self) -> http.client.HTTPResponse:
        """Let the server carry the request out."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        inner = http.client.HTTPConnection("127.0.0.1", self.server.server, timeout=PATIENCE)
        inner.request(self.command, self.path, body, dict(self.headers))
        return inner.getresponse()

    def answer(self, given: http.client.HTTPResponse) -> None:
        """Pass the server's answer on, if the client still waits for it."""
        body = given.read()
        with suppress(ConnectionError):
            self.send_response(given.status)
            self.send_header("Content-Type", given.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer(self.forward())

    def do_POST(self) -> None:
        if self.path.endswith("/runs/create"):
            self.server.creations += 1
            self.server.create(self, self.server.creations)
        else:
            self.do_GET()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an MLflow server."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    shutil.copy(empty_store, folder / "mlflow.db")
    with mlflow_server(f"sqlite:///{folder}/mlflow.db", folder, port):
        yield port


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that the environment points to. No request is broken off, unless a test asks for it."""
    monkeypatch.setattr(tracking, "PAUSES", (0.1, 0.2))
    with Proxy(server) as made:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(PATIENCE)))
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@contextmanager
def opened(experiment: str) -> Iterator[Tracker]:
    """A Tracker whose run is open."""
    steps = 0

    def sends() -> bool:
        nonlocal steps
        steps += 1
        tracker.log({"loss": 1 / steps}, steps)
        return tracker.sent

    with Tracker.start(Settings(experiment=experiment, mlflow_timeout=PATIENCE), "opened", {}) as tracker:
        until(sends)
        yield tracker


def runs_of(tracker: Tracker, proxy: Proxy) -> list[Run]:
    """All runs of the experiment that are not deleted."""
    return list(MlflowClient(proxy.uri, proxy.uri).search_runs([tracker.experiment_id]))


def require_one(tracker: Tracker, proxy: Proxy) -> None:
    """Check that the Tracker's run is the only one, and has ended."""
    assert [(run.info.run_id, run.info.status) for run in runs_of(tracker, proxy)] == [(tracker.run_id, "FINISHED")]


def test_runs_whose_answers_are_lost_are_found_again(proxy: Proxy) -> None:
    """MLflow's client repeats the request once, and gives up after that."""

    def create(request: Passing, number: int) -> None:
        given = request.forward()
        if number > 2:
            request.answer(given)

    proxy.create = create
    with opened("lost") as tracker:
        assert [run.info.run_id for run in runs_of(tracker, proxy)] == [tracker.run_id]
    assert proxy.creations == 2, "no third run"
    require_one(tracker, proxy)


@pytest.mark.parametrize("carried_out", ["at once", "late"])
def test_a_late_answer_leaves_one_run(carried_out: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def create(request: Passing, number: int) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(PATIENCE)))  # of all further requests
        if number == 1 and carried_out == "late":
            over.wait()
        given = request.forward()
        if number == 1:
            over.wait()
        request.answer(given)

    proxy.create = create
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    try:
        with opened(carried_out) as tracker:
            over.set()
            if carried_out == "late":
                until(lambda: len(runs_of(tracker, proxy)) > 1)
    finally:
        over.set()  # the proxy waits for its threads
    assert proxy.creations > 1
    require_one(tracker, proxy)
