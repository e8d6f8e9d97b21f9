"""A cluster on machines of their own: Ray's head and two workers, one with S3 and MLflow, and one that submits jobs.

They share the Python environment and nothing else, not even this project's code: a job brings that along.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.namespaces import HOME, Machine, Network, machines
from tests.support.waiting import until

HEAD, WORKERS, STORE, DESK = "10.77.0.2", ("10.77.0.3", "10.77.0.4"), "10.77.0.5", "10.77.0.6"
NAMES = {"head": HEAD, "worker-1": WORKERS[0], "worker-2": WORKERS[1], "store": STORE, "desk": DESK}
BUCKETS, BUCKET = "/srv/buckets", "rdmc"
TOKEN = f"{HOME}/.ray/token"
CHECKOUT = f"{HOME}/checkout"
MLFLOW = f"http://{STORE}:5000"
READY = {"s3": "Starting s3 server", "mlflow": "Application startup complete", "ray": "Ray runtime started."}
"""What the programs print when they are ready."""


@dataclass(frozen=True)
class FolderBucket:
    """A bucket of rclone's server, which is a folder, written from outside of the network."""

    folder: Path

    def put_object(self, *, Key: str, Body: bytes) -> None:  # noqa: N803  boto3's own names
        """Write one object."""
        target = self.folder / Key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Body)


@dataclass(frozen=True)
class Hosts:
    """The running machines and their services."""

    network: Network
    head: Machine
    workers: tuple[Machine, Machine]
    store: Machine
    desk: Machine
    logs: Path
    keys: dict[str, str]
    """The variables of the bucket's credentials and address."""

    @property
    def bucket(self) -> FolderBucket:
        """The bucket."""
        return FolderBucket(self.store.inside(f"{BUCKETS}/{BUCKET}"))

    @property
    def token(self) -> dict[str, str]:
        """The variables with the cluster's token."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": TOKEN}

    @property
    def user(self) -> dict[str, Any]:
        """The variables and the folder of who works at the desk."""
        variables = {
            **self.keys,
            **self.token,
            "PYTHONPATH": CHECKOUT,
            "RAY_API_SERVER_ADDRESS": f"http://{HEAD}:8265",
            "RDMC_BUCKET": f"s3://{BUCKET}/main",
            "RDMC_WORKERS": "2",
            "MLFLOW_TRACKING_URI": MLFLOW,
            "COLUMNS": "400",
        }
        return {"variables": variables, "folder": CHECKOUT}

    def pipeline(self, *arguments: str, **more: str) -> str:
        """Run a command of the pipeline at the desk and return what it prints. It must end with 0."""
        where = self.user
        done = self.desk.run(
            "python", "-m", "pipeline", *arguments, variables={**where["variables"], **more}, folder=where["folder"]
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout


@contextmanager
def hosts(logs: Path) -> Iterator[Hosts]:
    """Switch everything on, and off afterwards. What the services print is in the folder ``logs``."""
    access, secret, token = secrets.token_hex(8), secrets.token_hex(16), secrets.token_hex(32)
    keys = {
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": f"http://{STORE}:9000",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_S3_ENDPOINT_URL": f"http://{STORE}:9000",
    }
    with machines(NAMES) as (network, (head, first, second, store, desk)):
        found = Hosts(network, head, (first, second), store, desk, logs, keys)
        for machine in (head, first, second, desk):
            machine.inside(f"{HOME}/.ray").mkdir(mode=0o700)
            machine.inside(TOKEN).write_text(token)
            machine.inside(TOKEN).chmod(0o600)
        _serve_s3(found)
        _start_head(found)
        _serve_mlflow(found)
        for worker in found.workers:
            _start_worker(found, worker)
        for name, ready in (("mlflow", READY["mlflow"]), ("worker-1", READY["ray"]), ("worker-2", READY["ray"])):
            _wait(logs / f"{name}.log", ready)
        yield found


def _serve_s3(found: Hosts) -> None:
    found.store.inside(f"{BUCKETS}/{BUCKET}").mkdir(parents=True)
    auth = {"RCLONE_AUTH_KEY": f'"{found.keys["AWS_ACCESS_KEY_ID"]},{found.keys["AWS_SECRET_ACCESS_KEY"]}"'}
    command = ["rclone", "serve", "s3", "--addr", f"{STORE}:9000", "--config", "", BUCKETS]
    found.store.start(found.logs / "s3.log", *command, variables=auth)
    _wait(found.logs / "s3.log", READY["s3"])


def _serve_mlflow(found: Hosts) -> None:
    variables = {
        **found.keys,
        "MLFLOW_BACKEND_STORE_URI": "sqlite:////srv/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/main/mlflow",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{STORE}:5000",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1"]  # noqa: S104  its own network
    found.store.start(found.logs / "mlflow.log", *command, variables=variables)


def _node(found: Hosts) -> dict[str, str]:
    """The variables of every node, which all jobs inherit."""
    return {**found.keys, **found.token, "MLFLOW_TRACKING_URI": MLFLOW, "RAY_raylet_start_wait_time_s": "240"}


def _options(machine: Machine) -> list[str]:
    return [f"--node-ip-address={machine.address}", "--object-store-memory=100000000", "--num-gpus=0", "--disable-usage-stats"]


def _start_head(found: Hosts) -> None:
    """Start the head. It has no CPU, so every worker of a training runs on another machine."""
    own = ["--head", "--block", "--port=6379", f"--dashboard-host={HEAD}", "--num-cpus=0"]
    found.head.start(found.logs / "head.log", "ray", "start", *own, *_options(found.head), variables=_node(found))
    _wait(found.logs / "head.log", READY["ray"])


def _start_worker(found: Hosts, worker: Machine) -> None:
    """Start a node. It is started again when it ends, as by systemd: a node that was cut off is no longer of the cluster."""
    start = ["ray", "start", "--block", f"--address={HEAD}:6379", "--num-cpus=1", *_options(worker)]
    again = f"while :; do {' '.join(start)}; sleep 1; done"
    worker.start(found.logs / f"{worker.name}.log", "bash", "-c", again, variables=_node(found))


def _wait(log: Path, ready: str) -> None:
    try:
        until(lambda: log.exists() and ready in log.read_text(errors="replace"))
    except AssertionError:
        raise AssertionError(f"{log.name}: {log.read_text(errors='replace')[-3000:]}") from None
