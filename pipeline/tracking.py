"""A training's run in MLflow, and the connection to MLflow. With registry.py and model.py, all that knows MLflow.

MLflow is imported when it is first used, after ``_settle`` has set its environment: it is slow to import, talks a lot and
reports its use to its makers unless told not to.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import urlopen

from pipeline.console import say
from pipeline.settings import Settings
from pipeline.storage import refusals
from rdmc.errors import ServiceError

if TYPE_CHECKING:
    from mlflow import MlflowClient

Figure = tuple[str, float, int, int]
"""Name, value, time in ms, step."""

BUFFER = 20_000
"""Figures kept while MLflow is away; the oldest go first."""
PAUSES = (1.0, 60.0)
"""Seconds between two attempts to reach MLflow again: at first, doubling each time, and at most."""
SAMPLING = 10.0
"""Seconds between two samples of the machine's load."""
METRICS_A_CALL, PARAMS_A_CALL = 1000, 100
"""MLflow's limits of one request."""
CREDENTIAL = re.compile(r"(?<=//)[^\s/]*@|[^\s/:]+:[^\s/]*@")
"""What stands before the host in a URL, and ``user:password@`` anywhere."""
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}


class Tracker:
    """One MLflow run, written while a training goes on. No fault of MLflow's ever leaves this class.

    What cannot be sent is kept and sent with a later ``log``; an attempt costs at most about twice the settings'
    ``mlflow_timeout``, and the pauses between attempts grow to a minute. As a context manager it ends the run. Use it from
    one thread; it cannot be pickled: give another process the ``run_id``.
    """

    @classmethod
    def start(
        cls,
        settings: Settings,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any] | None = None,
        parent_run_id: str | None = None,
        run_id: str | None = None,
    ) -> Tracker:
        """Open a run, or go on with ``run_id`` where the store knows it, and watch the machine's load from now on."""
        tags = {**(tags or {}), **({"mlflow.parentRunId": parent_run_id} if parent_run_id else {})}
        tracker = cls(settings, name, params, tags, run_id)
        tracker._send()
        return tracker

    def __init__(
        self, settings: Settings, name: str, params: Mapping[str, Any], tags: Mapping[str, Any], run_id: str | None
    ) -> None:
        self.run_id = run_id
        """The run; None as long as none could be opened."""
        self._settings, self._name, self._params, self._tags = settings, name, params, tags
        self._started, self._status = now_ms(), ""
        self._client: MlflowClient | None = None
        self._monitor: Any = None  # MLflow's thread that samples the load; untyped
        self._todo: list[Callable[[MlflowClient], None]] = [self._open, self._describe, self._watch]
        self._figures: list[Figure] = []
        self._attached: list[Callable[[MlflowClient], None]] = []
        self._lost, self._down, self._pause, self._next = 0, False, PAUSES[0], 0.0

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the run as what happened to it: finished, stopped by a person, or failed."""
        if kind is None:
            self.finish("FINISHED")
        else:
            self.finish("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send figures of a step, or keep them until MLflow answers again."""
        now = now_ms()
        self._figures += [(name, float(value), now, step) for name, value in metrics.items()]
        excess = max(0, len(self._figures) - BUFFER)
        del self._figures[:excess]
        self._lost += excess
        if not self._down or time.monotonic() >= self._next:
            self._send()

    def attach(self, texts: Mapping[str, str], params: Mapping[str, Any] | None = None) -> None:
        """Send texts as artifacts, by their names, and further params, or keep them until MLflow answers again."""

        def send(client: MlflowClient) -> None:
            send_params(client, str(self.run_id), params or {}, {})
            with refusals(self._settings.bucket or "MLflow's bucket"):
                for name, text in texts.items():
                    client.log_text(str(self.run_id), text, name)

        self._attached.append(send)
        if not self._down or time.monotonic() >= self._next:
            self._send()

    def finish(self, status: str = "FINISHED") -> None:
        """Send what is left and end the run as FINISHED, FAILED or KILLED; says so if something could not be sent."""
        self._status = status
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        self._send()
        unsent = self._lost + len(self._figures)
        if unsent or self._down:
            files = f" and {len(self._attached)} files" if self._attached else ""
            say(
                f"MLflow: {unsent} figures{files} of this run were never sent; `python -m pipeline register` adds figures to it"
            )

    def _send(self) -> None:
        """Do what is due, in order; on a fault keep the rest for later."""
        try:
            if self._down:
                check_reachable(self._settings)
            self._client = self._client or connect(self._settings, self._settings.mlflow_timeout)
            while self._todo:
                self._todo[0](self._client)
                del self._todo[0]
            while self._figures:
                send_metrics(self._client, str(self.run_id), self._figures[:METRICS_A_CALL])
                del self._figures[:METRICS_A_CALL]
            if self._status:
                self._client.set_terminated(str(self.run_id), self._status)
            while self._attached:  # after the figures, which a bucket that refuses must not hold up
                self._attached[0](self._client)
                del self._attached[0]
        except ServiceError as error:
            self._went_down(error)
        except faults() as error:  # looked at second, for it imports MLflow
            self._went_down(error)
        else:
            if self._down:
                say("MLflow answers again: what was kept is sent")
            self._down, self._pause = False, PAUSES[0]

    def _went_down(self, error: Exception) -> None:
        if not self._down:
            say(f"MLflow: {one_line(error)}; the training goes on and its figures are kept until MLflow answers")
            if self._monitor is not None:
                self._todo.append(self._watch)  # MLflow's monitor gives up at its first fault
        self._down = True
        self._next = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, PAUSES[1])

    def _open(self, client: MlflowClient) -> None:
        experiment = experiment_id(client, self._settings)
        if self.run_id and knows_run(client, self.run_id):
            client.update_run(self.run_id, status="RUNNING")
        else:
            run = client.create_run(experiment, start_time=self._started, tags=_text(self._tags), run_name=self._name)
            self.run_id = run.info.run_id

    def _describe(self, client: MlflowClient) -> None:
        send_params(client, str(self.run_id), self._params, self._tags)

    def _watch(self, _: MlflowClient) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if self._monitor is not None:
            self._monitor.finish()
        monitor: Any = SystemMetricsMonitor
        self._monitor = monitor(self.run_id, SAMPLING, resume_logging=True, tracking_uri=self._settings.tracking_uri)
        self._monitor.start()


def connect(settings: Settings, timeout: float = 120, retries: int = 1) -> MlflowClient:
    """A client of the settings' MLflow. ``timeout`` (s) and ``retries`` of a request hold where the environment is silent.

    Raises ServiceError where nothing answers, and MLflow's own errors (``faults``).
    """
    check_reachable(settings)
    _settle(timeout, retries)
    from mlflow import MlflowClient

    return MlflowClient(settings.tracking_uri, settings.tracking_uri)


def check_reachable(settings: Settings) -> None:
    """Raise ServiceError unless the server answers within ``mlflow_timeout``, or the folder of a SQLite store is there."""
    uri, timeout = settings.tracking_uri, settings.mlflow_timeout
    parts = _split(uri)
    path = sqlite_path(uri)
    if path and not path.parent.is_dir():
        raise ServiceError(f"{uri}: no such folder; set MLFLOW_TRACKING_URI to a place that exists or unset it")
    if not parts.hostname or parts.scheme.split("+")[0] not in PORTS:
        return
    answers: queue.Queue[str] = queue.Queue()  # in a thread, for looking a name up has no time limit of its own
    threading.Thread(target=lambda: answers.put(_problem(parts, timeout)), daemon=True).start()
    try:
        problem = answers.get(timeout=timeout)
    except queue.Empty:
        problem = f"no answer within {timeout:g} s"
    if problem:
        raise ServiceError(
            f"{shown_uri(uri)} cannot be reached ({problem}); start that MLflow server, or mend MLFLOW_TRACKING_URI"
        )


def faults() -> tuple[type[Exception], ...]:
    """What MLflow, its database and its connections raise when they fail."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, OSError)


def shown_uri(uri: str) -> str:
    """A tracking URI as it may be shown and recorded: without user, password and query. Raises ServiceError for a bad one."""
    parts = _split(uri)
    return urlunsplit((parts.scheme, _place(parts), parts.path, "", "")) if parts.hostname else uri


def one_line(error: Exception) -> str:
    """An error's text on one line, not too long, passwords in URLs left out."""
    words = CREDENTIAL.sub("", " ".join(str(error).split()))
    return words if len(words) <= 300 else f"{words[:300]}…"


def experiment_id(client: MlflowClient, settings: Settings) -> str:
    """The settings' experiment, made if it is new. Its artifacts lie in the bucket, else beside the SQLite file.

    A server decides itself where they lie.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(settings.experiment)
    if found is None:
        try:
            return client.create_experiment(settings.experiment, artifact_location=_artifacts(settings))
        except MlflowException:
            found = client.get_experiment_by_name(settings.experiment)  # another process may have made it just now
            if found is None:
                raise
    return found.experiment_id


def knows_run(client: MlflowClient, run_id: str) -> bool:
    """Whether the store has the run (and it is not deleted)."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False
        raise


def send_params(client: MlflowClient, run_id: str, params: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
    """Log the params that the run does not have yet (MLflow refuses to change one), and set the tags."""
    from mlflow.entities import Param, RunTag

    known = client.get_run(run_id).data.params
    new = [Param(name, str(value)) for name, value in params.items() if name not in known]
    for start in range(0, len(new), PARAMS_A_CALL):
        client.log_batch(run_id, params=new[start : start + PARAMS_A_CALL])
    if tags:
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in _text(tags).items()])


def send_metrics(client: MlflowClient, run_id: str, figures: list[Figure]) -> None:
    """Log figures; the same ones again change nothing."""
    from mlflow.entities import Metric

    for start in range(0, len(figures), METRICS_A_CALL):
        client.log_batch(run_id, metrics=[Metric(*figure) for figure in figures[start : start + METRICS_A_CALL]])


def _settle(timeout: float, retries: int) -> None:
    """Give MLflow its environment, where a person has not, and silence what is below a warning."""
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, math.ceil(timeout))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  (it sets its loggers up when imported)

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.ERROR)


def _problem(parts: SplitResult, timeout: float) -> str:
    """Why the server does not answer, or nothing."""
    scheme = parts.scheme.split("+")[0]
    try:
        if scheme in ("http", "https"):
            urlopen(f"{scheme}://{_place(parts)}{parts.path.rstrip('/')}/health", timeout=timeout).close()  # noqa: S310
        else:
            socket.create_connection((str(parts.hostname), parts.port or PORTS[scheme]), timeout).close()
    except HTTPError:
        return ""  # it does answer; MLflow will say what is wrong
    except URLError as error:
        return "" if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except HTTPException as error:
        return f"what listens there is no HTTP server: {type(error).__name__}"
    except (OSError, ValueError) as error:  # ValueError: a host's name that cannot be one
        return str(error)
    return ""


def _split(uri: str) -> SplitResult:
    """The parts of a tracking URI. Raises ServiceError, and says nothing of it, for it may hold a password, if it is none."""
    try:
        parts = urlsplit(uri)
        good = parts.port is None or bool(parts.hostname)
    except ValueError:
        good = False
    if not good or (parts.scheme in ("http", "https") and not parts.hostname):
        raise ServiceError("MLFLOW_TRACKING_URI: not http(s)://host:port with a port up to 65535; mend it or unset it")
    return parts


def _place(parts: SplitResult) -> str:
    """host:port, without user and password."""
    return parts.netloc.rpartition("@")[2]


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other."""
    parts = _split(uri)
    return Path(parts.path.removeprefix("/")) if parts.scheme == "sqlite" else None


def _artifacts(settings: Settings) -> str | None:
    uri = settings.tracking_uri
    if urlsplit(uri).scheme in ("http", "https"):
        return None
    if settings.bucket:
        return f"{settings.bucket}/mlflow"
    return ((sqlite_path(uri) or Path()).parent / "mlartifacts").resolve().as_uri()


def _text(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
