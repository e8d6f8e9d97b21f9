"""The MLflow server: runs and models in PostgreSQL, artifacts in the bucket, a login before both."""

from __future__ import annotations

import sys
from pathlib import Path

import pipeline
from pipeline.stack import login, postgres
from pipeline.stack.service import Service
from pipeline.stack.state import HOST, State
from rdmc.web import open_url

NAME = "mlflow"
USER = "rdmc"
"""The name of the login. Its password is a secret of the stack."""
CHECK_SECONDS = 5.0
CODE = Path(pipeline.__file__).resolve().parents[1]


def service(state: State, port: int, database_port: int, artifacts: str, s3: dict[str, str]) -> Service:
    """The service: ``artifacts`` is an address in the bucket, ``s3`` the variables with which the server reaches it."""
    app = f"{login.__name__}:{login.application.__name__}"
    return Service(
        name=NAME,
        address=address(port),
        command=(
            *(sys.executable, "-m", "uvicorn", "--factory", app, "--app-dir", str(CODE)),
            *("--host", HOST, "--port", str(port), "--workers", "1", "--no-access-log"),
        ),
        environment={
            **s3,
            login.USER: USER,
            login.PASSWORD: state.secret(NAME),
            login.STORE: postgres.uri(state, database_port),
            login.ARTIFACTS: artifacts,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",  # as `mlflow server` sets it
        },
        ports={NAME: port},
        ready=lambda: answers(port),
        prepare=lambda: postgres.make_database(state, database_port),
    )


def address(port: int) -> str:
    """Where clients and browsers reach the server."""
    return f"http://{HOST}:{port}"


def answers(port: int) -> bool:
    """Whether an MLflow server answers."""
    try:
        with open_url(f"{address(port)}/health", ("http",), timeout=CHECK_SECONDS) as answer:
            return answer.read(2) == b"OK"
    except (OSError, ValueError):
        return False
