"""The Ray cluster to run on, existing or started by this process, and the workers that it gives a training."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import grpc
import ray
import torch
from ray._private import ray_constants
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated.gcs_service_pb2 import GetClusterIdRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.exceptions import AuthenticationError, NodeDiedError, OwnerDiedError, RayActorError, RaySystemError, RpcError

from pipeline.config.settings import CPU_WORKERS, Settings
from pipeline.signals import own_handlers
from rdmc.errors import ConfigError, ServiceError, one_line

COORDINATION = 0.01
"""CPUs that a trial itself takes if its workers request their own."""
LOST = (AuthenticationError, NodeDiedError, OwnerDiedError, RayActorError, RaySystemError, RpcError)
"""What Ray raises in a driver whose head, or whose own process on it, has ended. A new head at the old address refuses it."""
REACH_SECONDS = 5.0
"""Seconds that the head of a cluster may take to accept a connection."""


@contextmanager
def cluster(settings: Settings, trials: int = 0) -> Iterator[None]:
    """Connect to Ray: to the cluster of the settings or of the current Ray job, or to one that this process starts.

    A cluster that this process starts has one CPU for each worker of ``trials`` concurrent trainings of a sweep, or of one
    training, and one more for the process that starts them. It listens on loopback only, its metrics included. It accepts
    nothing without the token that Ray writes in ``~/.ray``: Ray 2.60 requires the token for a cluster that it starts, unless
    RAY_AUTH_MODE says otherwise. The metrics, which hold no data, are given without it.

    Raises ServiceError if the cluster does not answer or is lost in the block, ConfigError for GPUs that do not exist.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # the default of two seconds delays every report
    logging.getLogger("ray").setLevel(logging.ERROR)  # our own messages cover what a user must know
    with own_handlers():
        _start(_address(settings), _own(settings, trials) if own_ray(settings) else {})
    for name in ("ray.train", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    token = Path.home() / ".ray/auth_token"
    if token.is_file():
        token.chmod(0o600)  # Ray makes the token readable by every user of the machine
    try:
        with _losses(_address(settings)):
            yield
    finally:
        ray.shutdown()


@contextmanager
def _losses(address: str) -> Iterator[None]:
    """Turn the errors of a cluster that is lost in the block into a ServiceError."""
    try:
        yield
    except LOST as error:
        raise ServiceError(
            f"Ray at {address!r} was lost ({one_line(error)}); when it answers, run the same command again: a training resumes"
        ) from error


def own_ray(settings: Settings) -> bool:
    """Whether ``cluster`` starts a Ray cluster for this process only. Otherwise others may use it too."""
    return _address(settings) == "local"


def _address(settings: Settings) -> str:
    """The project's own setting where it is set; else Ray's variable, which Ray sets for its jobs; else ``local``."""
    if "ray_address" in settings.model_fields_set and settings.ray_address:
        return settings.ray_address
    return os.environ.get("RAY_ADDRESS") or settings.ray_address or "local"


def _start(address: str, options: Mapping[str, Any]) -> None:
    """Connect to Ray or start it. Raises ServiceError for every error of Ray: a slow start raises a bare Exception."""
    try:
        _knock(address)
        _show_token(address)
        with _loopback() if address == "local" else nullcontext():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except ServiceError:
        raise
    except AuthenticationError as error:
        raise ServiceError(
            f"Ray at {address!r}: no token ({one_line(error)}); set RAY_AUTH_TOKEN_PATH to a file with that cluster's token"
        ) from None
    except Exception as error:
        line = one_line(error)
        if address == "local":
            raise ServiceError(
                f"Ray did not start here ({line}); run the command again when the machine is less busy"
            ) from error
        raise ServiceError(f"Ray at {address!r} cannot be reached ({line}); start it or set RDMC_RAY_ADDRESS=local") from error


@contextmanager
def _loopback() -> Iterator[None]:
    """Let a Ray that starts in the block use the address 127.0.0.1, which ``_node_ip_address`` does not achieve.

    Ray does so by itself on macOS and Windows. The variable that decides it is read when Ray is imported; the processes that
    Ray starts read it again.
    """
    before, wanted = os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = wanted
        if before is None:
            del os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR]
        else:
            os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = before


def _own(settings: Settings, trials: int) -> dict[str, Any]:
    """Options of ``ray.init`` for an own cluster: enough CPUs for that many trainings at once."""
    count = workers(settings)
    return {"num_cpus": max(trials, 1) * count + 1, **_dashboard(trials > 0 and count > 1)}


def _dashboard(wanted: bool) -> dict[str, Any]:
    """Options of ``ray.init`` for an own cluster with or without a dashboard.

    Trials with Ray Train's workers need the dashboard: through it Ray learns that a stopped trial's controller is dead, and
    frees the CPUs of its workers. All processes get its address from here. If they searched for it themselves, they would
    fail on a machine with several Ray clusters.
    """
    if not wanted:
        return {"include_dashboard": False}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"env_vars": {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}}
    return {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port, "runtime_env": where}


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at ``host:port``; Ray itself would retry for minutes. Other addresses pass."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()


def _show_token(address: str) -> None:
    """Raise ServiceError if the head at ``host:port``, or the one that ``auto`` means, refuses this process's token.

    Ray itself would try for 20 seconds, and then say only that it has no connection. Other addresses pass.
    """
    if address == "local" or "://" in address:
        return
    head = canonicalize_bootstrap_address(address) if address == "auto" else address
    if not head:
        return
    channel = init_grpc_channel(head, options=[("grpc.enable_http_proxy", 0)])  # it adds the token
    try:
        NodeInfoGcsServiceStub(channel).GetClusterId(GetClusterIdRequest(), timeout=REACH_SECONDS)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise ServiceError(
                f"Ray at {address!r} refuses this token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the "
                "token of that cluster"
            ) from None
        raise
    finally:
        channel.close()


def on_gpu(settings: Settings) -> bool:
    """Whether workers use GPUs: as the settings say, else if the cluster (or this machine) has any."""
    if settings.gpu is not None:
        return settings.gpu
    if ray.is_initialized():
        return bool(ray.cluster_resources().get("GPU", 0) > 0)
    return torch.cuda.is_available()


def workers(settings: Settings) -> int:
    """The number of training workers.

    Raises ConfigError if GPUs are requested but there are none, and if workers of one training would share a GPU.
    """
    if not on_gpu(settings):
        return settings.workers or CPU_WORKERS
    count = settings.workers
    if not count:
        count = int(ray.cluster_resources().get("GPU", 0)) if ray.is_initialized() else torch.cuda.device_count()
    if not count:
        raise ConfigError("RDMC_GPU: true, but there is no GPU; set RDMC_GPU=false or add a GPU")
    if count > 1 and settings.gpus_per_worker < 1:
        raise ConfigError(
            f"RDMC_GPUS_PER_WORKER: {settings.gpus_per_worker:g} for {count} workers: workers of one training "
            "cannot share a GPU; set RDMC_WORKERS=1, or RDMC_GPUS_PER_WORKER=1"
        )
    return count


def fewest_workers(settings: Settings) -> int:
    """With how few workers a training begins, and goes on. Raises ConfigError if that is more than it may have at most."""
    most = workers(settings)
    if settings.min_workers > most:
        raise ConfigError(f"RDMC_MIN_WORKERS: {settings.min_workers} is more than RDMC_WORKERS, {most}; lower it or raise that")
    return settings.min_workers or most


def share(settings: Settings) -> dict[str, float]:
    """The resources of one training worker: a GPU or the configured share of one, or a CPU."""
    return {"GPU": settings.gpus_per_worker} if on_gpu(settings) else {"CPU": 1.0}


def require_resources(settings: Settings, trials: int = 0) -> None:
    """Raise ConfigError if the cluster can never run the training with the fewest workers, or this many trials, at once.

    Ray would wait forever for the missing resources. A cluster that adds nodes may have them later, so nothing is raised there.
    """
    count = fewest_workers(settings)
    if settings.autoscaling:
        return
    ((kind, each),) = share(settings).items()
    have = float(ray.cluster_resources().get(kind, 0))
    own = COORDINATION * trials if kind == "CPU" and count > 1 else 0.0
    trials = max(trials, 1)
    possible = int(have - own) * int(1 / each + 1e-9)  # workers; a share never spans two GPUs
    if count * trials <= possible:
        return
    if kind == "GPU" and not have:
        cure = "RDMC_GPU=false"
    elif possible >= count:
        cure = f"tune.concurrent (or ablation.concurrent) to {possible // count}"
    else:
        cure = f"RDMC_{'MIN_' if settings.min_workers else ''}WORKERS={max(possible, 1)}"
    what = f"{trials} trials at once of {count} workers" if trials > 1 else f"{count} workers"
    raise ConfigError(
        f"RDMC_WORKERS: {what} need {count * trials * each + own:g} {kind}s, the cluster has {have:g}; set {cure} or add nodes"
    )
