"""The connection to MLflow: a check that it answers, its address without secrets, and requests within its limits.

MLflow is imported on first use, after ``_settle`` has set its environment: the import is slow, and by default MLflow prints a
lot and sends usage data to its makers.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit, urlunsplit
from weakref import WeakKeyDictionary

from pipeline.config.settings import Settings
from pipeline.console import note
from pipeline.tracking.metric_names import metric_name
from pipeline.tracking.relocation import artifact_folder, relocate
from pipeline.tracking.run_info import KIND, TRAINING
from rdmc.errors import ServiceError
from rdmc.web import open_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

Figure = tuple[str, float, int, int]
"""A metric: name, value, time in ms since 1970, step."""

METRICS_A_CALL, PARAMS_A_CALL = 1000, 100
"""MLflow's limits per request."""
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
_timeouts: WeakKeyDictionary[MlflowClient, float] = WeakKeyDictionary()
"""The clients in use, and the seconds that each one's requests may take."""
_settling = threading.Lock()


def connect(settings: Settings, timeout: float = 120) -> MlflowClient:
    """A client of the settings' MLflow whose requests may take ``timeout`` s each, and are repeated once.

    MLflow has one timeout for the whole process. While several clients are in use, until they ``leave``, the longest counts:
    a shorter one would break off another thread's upload, a longer one only delays the word that a server is gone. Variables
    that the user has set (MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES) count before all of this.

    Raises ServiceError if nothing answers, and MLflow's own errors (``faults``).
    """
    check_reachable(settings)
    in_place(settings)
    _settle()
    from mlflow import MlflowClient

    _quieten()
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    with _settling:
        _timeouts[client] = timeout
        _limit_requests()
    return client


def leave(client: MlflowClient) -> None:
    """Let the timeout of a client that ``connect`` gave count no longer."""
    with _settling:
        _timeouts.pop(client, None)
        _limit_requests()


def in_place(settings: Settings) -> None:
    """Correct the artifact paths of an embedded store whose project was moved or copied, and say so.

    Raises ServiceError if its artifacts are missing, or its database cannot be changed.
    """
    path = sqlite_path(settings.tracking_uri)
    if path and (line := relocate(path)):
        note(line)


def check_reachable(settings: Settings) -> None:
    """Raise ServiceError unless the server answers within ``mlflow_timeout``, or the folder of a SQLite store exists."""
    uri, timeout = settings.tracking_uri, settings.mlflow_timeout
    parts = _split(uri)
    path = sqlite_path(uri)
    if path and not path.parent.is_dir():
        raise ServiceError(f"{uri}: no such folder; set MLFLOW_TRACKING_URI to a place that exists or unset it")
    if not parts.hostname or parts.scheme.split("+")[0] not in PORTS:
        return
    answers: queue.Queue[str] = queue.Queue()  # filled by a thread, because a DNS lookup has no timeout
    threading.Thread(target=lambda: answers.put(_problem(parts, timeout)), daemon=True).start()
    try:
        problem = answers.get(timeout=timeout)
    except queue.Empty:
        problem = f"no answer within {timeout:g} s"
    if problem:
        raise ServiceError(
            f"{shown_uri(uri)} cannot be reached ({problem}); start that MLflow server, or fix MLFLOW_TRACKING_URI"
        )


def faults() -> tuple[type[Exception], ...]:
    """The exceptions that MLflow, its database and its connections raise."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, OSError)


def shown_uri(uri: str) -> str:
    """A tracking URI that is safe to show and record: without user, password and query. Raises ServiceError for a bad URI."""
    parts = _split(uri)
    return urlunsplit((parts.scheme, _place(parts), parts.path, "", "")) if parts.hostname else uri


def experiment_id(client: MlflowClient, settings: Settings) -> str:
    """The id of the settings' experiment, which is created if it does not exist, and tagged as model training.

    Its artifacts are stored in the bucket, or beside the SQLite file without a bucket. A server decides itself where to
    store them.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None:
        try:
            return client.create_experiment(settings.experiment, _artifacts(settings), {KIND: TRAINING})
        except MlflowException:
            experiment = client.get_experiment_by_name(settings.experiment)  # another process may just have made it
            if experiment is None:
                raise
    if not experiment.tags.get(KIND):  # an experiment of an earlier version of this code, or made by hand
        client.set_experiment_tag(experiment.experiment_id, KIND, TRAINING)
    return experiment.experiment_id


def knows_run(client: MlflowClient, run_id: str) -> bool:
    """Whether the store has the run, and it is not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False
        raise


def send_params(client: MlflowClient, run_id: str, params: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
    """Log the params that the run does not have yet (MLflow refuses to change a param), and set the tags."""
    from mlflow.entities import Param, RunTag

    known = client.get_run(run_id).data.params
    new = [Param(name, str(value)) for name, value in params.items() if name not in known]
    for start in range(0, len(new), PARAMS_A_CALL):
        client.log_batch(run_id, params=new[start : start + PARAMS_A_CALL])
    if tags:
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in as_text(tags).items()])


def figures_of(rows: Sequence[Mapping[str, float]]) -> list[Figure]:
    """The figures of ``rows`` under MLflow's names. A row has the ``step`` beside its figures."""
    now = now_ms()
    return [
        (metric_name(name), float(value), now, int(row["step"]))
        for row in rows
        for name, value in row.items()
        if name != "step"
    ]


def known_steps(client: MlflowClient, run_id: str, metric: str) -> set[int]:
    """The steps at which the run has a metric, which is given by MLflow's name."""
    return {figure.step for figure in client.get_metric_history(run_id, metric)}


def missing_figures(client: MlflowClient, run_id: str, rows: Sequence[Mapping[str, float]]) -> list[Figure]:
    """The figures of ``rows`` that the run does not have at their ``step``, under MLflow's names."""
    figures = figures_of(rows)
    known = {metric: known_steps(client, run_id, metric) for metric in {figure[0] for figure in figures}}
    return [figure for figure in figures if figure[3] not in known[figure[0]]]


def send_metrics(client: MlflowClient, run_id: str, figures: list[Figure]) -> None:
    """Log metrics. Logging the same ones again changes nothing."""
    from mlflow.entities import Metric

    for start in range(0, len(figures), METRICS_A_CALL):
        client.log_batch(run_id, metrics=[Metric(*figure) for figure in figures[start : start + METRICS_A_CALL]])


def _limit_requests() -> None:
    """Give requests the longest timeout of the clients in use.

    It is MLflow's default that is set, not its variable, which this and child processes would then take for the user's own.
    """
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

    MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 1
    if _timeouts:
        MLFLOW_HTTP_REQUEST_TIMEOUT.default = max(1, math.ceil(max(_timeouts.values())))


def _settle() -> None:
    """Set the MLflow variables that the user has not set."""
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _quieten() -> None:
    """Silence minor log messages. Call it after the import of MLflow, which sets its loggers up."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.ERROR)


def _problem(parts: SplitResult, timeout: float) -> str:
    """Why the server does not answer; empty if it does."""
    scheme = parts.scheme.split("+")[0]
    try:
        if scheme in ("http", "https"):
            address = f"{scheme}://{_place(parts)}{parts.path.rstrip('/')}/health"
            open_url(address, ("http", "https"), timeout=timeout).close()
        else:
            socket.create_connection((str(parts.hostname), parts.port or PORTS[scheme]), timeout).close()
    except HTTPError:
        return ""  # the server answers; MLflow's request will report the error
    except URLError as error:
        return "" if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except HTTPException as error:
        return f"what listens there is no HTTP server: {type(error).__name__}"
    except (OSError, ValueError) as error:  # ValueError: an invalid host name
        return str(error)
    return ""


def _split(uri: str) -> SplitResult:
    """The parts of a tracking URI. Raises ServiceError for a bad URI, without showing it: it may hold a password."""
    try:
        parts = urlsplit(uri)
        good = parts.port is None or bool(parts.hostname)
    except ValueError:
        good = False
    if not good or (parts.scheme in ("http", "https") and not parts.hostname):
        raise ServiceError("MLFLOW_TRACKING_URI: not http(s)://host:port with a port up to 65535; fix it or unset it")
    return parts


def _place(parts: SplitResult) -> str:
    """host:port, without user and password."""
    return parts.netloc.rpartition("@")[2]


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for other stores."""
    parts = _split(uri)
    return Path(parts.path.removeprefix("/")) if parts.scheme == "sqlite" else None


def _artifacts(settings: Settings) -> str | None:
    uri = settings.tracking_uri
    if urlsplit(uri).scheme in ("http", "https"):
        return None
    if settings.bucket:
        return f"{settings.bucket}/mlflow"
    return artifact_folder(sqlite_path(uri) or Path("mlflow.db")).as_uri()


def as_text(values: Mapping[str, Any]) -> dict[str, str]:
    """The values as MLflow's tags hold them."""
    return {name: str(value) for name, value in values.items()}


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
