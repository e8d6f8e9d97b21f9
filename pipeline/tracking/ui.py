"""The command ``ui``: MLflow's web pages on this machine."""

from __future__ import annotations

import errno
import os
import socket
import sys

from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.tracking.client import check_reachable, connect, faults, in_place, shown_uri
from pipeline.tracking.links import HISTORY, HOST, experiment_page, model_page, page_lines, run_page, served_at
from rdmc.errors import ServiceError


def run(settings: Settings, port: int) -> None:
    """Print links, and replace this process by MLflow's server for the settings' store. A store that is a server needs none.

    The store's address may hold a password. It is passed in the environment, so no list of processes shows it.

    Raises ServiceError for a port that cannot be used or a store that does not answer.
    """
    shown = shown_uri(settings.tracking_uri)
    if address := served_at(settings):
        say(f"MLFLOW_TRACKING_URI names a server, which shows these pages itself: open {shown}")
        _links(settings, address)
        return
    check_reachable(settings)
    in_place(settings)
    check_port(port)
    command = ["mlflow", "ui", "--host", HOST, "--port", str(port), "--workers", "1"]
    say(f"MLflow UI of {shown} at http://{HOST}:{port} (Ctrl-C stops it), the same as:")
    named = '"$MLFLOW_TRACKING_URI"' if "MLFLOW_TRACKING_URI" in os.environ else shown
    say(f"  {' '.join(command)} --backend-store-uri {named}")
    _links(settings, f"http://{HOST}:{port}")
    sys.stdout.flush()
    variables = {
        "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
    }
    os.execve(sys.executable, [sys.executable, "-m", *command], {**os.environ, **variables})  # noqa: S606  signals reach the UI directly, and its exit status is ours


def _links(settings: Settings, address: str) -> None:
    """Print a line for the experiment, its newest run and each model. Without a readable store, MLflow says what is wrong."""
    try:
        pages = pages_here(settings)
    except ServiceError:
        return
    except faults():  # checked second, because it imports MLflow
        return
    say("open one of these; the bare address opens MLflow's GenAI pages:")
    for line in page_lines(address, pages):
        say(line)


def pages_here(settings: Settings) -> dict[str, str]:
    """The pages of the settings' experiment, of its newest run that is no trial, and of the registered models, by name.

    It only reads: what does not exist yet has no page.

    Raises ServiceError and MLflow's own errors (``faults``).
    """
    client = connect(settings, settings.mlflow_timeout)
    found = client.get_experiment_by_name(settings.experiment)
    experiment = found.experiment_id if found else ""
    newest = client.search_runs([experiment], "tags.stage != 'trial'", max_results=1) if experiment else []
    models = [model.name for model in client.search_registered_models(max_results=100) if not model.name.endswith(HISTORY)]
    return {
        **({"experiment": experiment_page(experiment)} if experiment else {}),
        **({"newest run": run_page(experiment, newest[0].info.run_id)} if newest else {}),
        **{f"model {name}": model_page(name) for name in models},
    }


def check_port(port: int, host: str = HOST, cure: str = "`make mlflow PORT=5001`") -> None:
    """Raise ServiceError unless this user can listen on the port of the host, which must be this machine."""
    try:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        family, *_, address = socket.getaddrinfo(host, port, kind, socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ServiceError(f"{host}: {reason}; name an address of this machine, such as 127.0.0.1 or 0.0.0.0") from None
    with socket.socket(family) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended must not block the port
        try:
            place.bind(address)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EADDRNOTAVAIL:
                raise ServiceError(f"{host}: no address of this machine; name one, such as 127.0.0.1 or 0.0.0.0") from None
            raise ServiceError(f"port {port} of {host}: {reason}; take a free one above 1023: {cure}") from None
