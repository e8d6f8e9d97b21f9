"""A real MLflow server on the loopback interface, and a real PostgreSQL server for its store."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.waiting import until


@contextmanager
def mlflow_server(store: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve a store. The process leads its own process group, which is killed afterwards."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        try:
            until(lambda: process.poll() is not None or _answers(port))
        except AssertionError:
            pytest.fail((folder / "server.log").read_text())
        assert process.poll() is None, (folder / "server.log").read_text()
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
    except OSError:
        return False
    return True


@contextmanager
def postgresql() -> Iterator[str]:
    """The URI of an empty database on a new server. Skips the test if PostgreSQL is not installed."""
    programs = [shutil.which(name) for name in ("initdb", "postgres")]
    if not all(programs):
        pytest.skip("PostgreSQL (initdb, postgres) is not on the PATH")
    initdb, postgres = (os.path.realpath(str(name)) for name in programs)
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name  # PostgreSQL refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        place, port = Path(name), free_port()
        if os.geteuid() == 0:
            shutil.chown(place, user)
        as_user: dict[str, Any] = {"cwd": place, **({"user": user} if os.geteuid() == 0 else {})}
        make = [initdb, "-D", f"{name}/data", "-U", "mlflow", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(make, check=True, capture_output=True, **as_user)
        serve = [postgres, "-D", f"{name}/data", "-k", name, "-h", "127.0.0.1", "-p", str(port), "-F"]
        process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user)
        try:
            _wait(process, port)
            yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(2)  # SIGINT closes its connections
            process.wait(timeout=60)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    import psycopg

    def answers() -> bool:
        assert process.poll() is None, "PostgreSQL did not come up"
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="mlflow", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    until(answers)
