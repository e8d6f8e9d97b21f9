"""A Ray to run on: somebody's cluster, or one of this process's own; how many workers it gives, and on what."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch

from pipeline.config.settings import CPU_WORKERS, Settings
from rdmc.errors import ConfigError, ServiceError, one_line

COORDINATION = 0.01
"""CPUs of a trial whose workers ask for their own."""
REACH_SECONDS = 5.0
"""How long the head of a cluster may take to accept a connection."""


@contextmanager
def cluster(settings: Settings, trials: int = 0) -> Iterator[None]:
    """A Ray to run on: the cluster of the settings or of the Ray job this is, or one of this process's own.

    The own one has a CPU for every worker of ``trials`` trainings of a sweep at once, or of one training, and one for what
    starts them. It listens on all of the machine's addresses, whatever ``_node_ip_address`` says, and takes nothing without
    the token that Ray makes in ``~/.ray``: Ray 2.60 turns that on for a cluster of its own unless RAY_AUTH_MODE says otherwise.

    Raises ServiceError where the cluster does not answer, ConfigError for GPUs that are not there.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # a report is seen after this long, not two seconds
    logging.getLogger("ray").setLevel(logging.ERROR)  # what concerns a person is said by us
    _start(_address(settings), _own(settings, trials) if own_ray(settings) else {})
    for name in ("ray.train", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    token = Path.home() / ".ray/auth_token"
    if token.is_file():
        token.chmod(0o600)  # Ray listens on every address and makes this token for it, for all on the machine to read
    try:
        yield
    finally:
        ray.shutdown()


def own_ray(settings: Settings) -> bool:
    """Whether ``cluster`` starts a Ray of this process's own; others use any other."""
    return _address(settings) == "local"


def _address(settings: Settings) -> str:
    return os.environ.get("RAY_ADDRESS") or settings.ray_address


def _start(address: str, options: Mapping[str, Any]) -> None:
    """Begin to use a Ray. Raises ServiceError for whatever Ray raises: for a slow start that is a bare Exception."""
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:
        line = one_line(error)
        raise ServiceError(f"Ray at {address!r} cannot be reached ({line}); start it or set RDMC_RAY_ADDRESS=local") from error


def _own(settings: Settings, trials: int) -> dict[str, Any]:
    """Settings of a Ray of this process's own: enough CPUs for that many trainings at once."""
    count = workers(settings)
    return {"num_cpus": max(trials, 1) * count + 1, **_dashboard(trials > 0 and count > 1)}


def _dashboard(wanted: bool) -> dict[str, Any]:
    """Settings of an own Ray with a dashboard, or without.

    It is wanted where trials have Ray Train's workers.
    The dashboard tells Ray that a stopped trial's controller is dead, and so its workers' CPUs are free again. All processes
    are told where it is: they would look for it themselves, and in vain where the machine has several Rays.
    """
    if not wanted:
        return {"include_dashboard": False}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"env_vars": {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}}
    return {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port, "runtime_env": where}


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at ``host:port``; Ray itself would try for minutes. Other addresses pass."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()


def on_gpu(settings: Settings) -> bool:
    """Whether workers get a GPU each: as set, or wherever the cluster (or this machine) has any."""
    if settings.gpu is not None:
        return settings.gpu
    if ray.is_initialized():
        return bool(ray.cluster_resources().get("GPU", 0) > 0)
    return torch.cuda.is_available()


def workers(settings: Settings) -> int:
    """How many training workers there are to be.

    Raises ConfigError for GPUs that are asked for and not there, and for workers of one training that would share a GPU.
    """
    if not on_gpu(settings):
        return settings.workers or CPU_WORKERS
    count = settings.workers
    if not count:
        count = int(ray.cluster_resources().get("GPU", 0)) if ray.is_initialized() else torch.cuda.device_count()
    if not count:
        raise ConfigError("RDMC_GPU: true, and there is no GPU; set RDMC_GPU=false or add one")
    if count > 1 and settings.gpus_per_worker < 1:
        raise ConfigError(
            f"RDMC_GPUS_PER_WORKER: {settings.gpus_per_worker:g} for {count} workers: those of one training "
            "cannot share a GPU; set RDMC_WORKERS=1, or RDMC_GPUS_PER_WORKER=1"
        )
    return count


def share(settings: Settings) -> dict[str, float]:
    """What one training worker takes of the cluster: a GPU or the set part of one, or a CPU."""
    return {"GPU": settings.gpus_per_worker} if on_gpu(settings) else {"CPU": 1.0}


def require_resources(settings: Settings, trials: int = 0) -> None:
    """Refuse what the cluster can never place at once, rather than wait for it for ever: a training, or so many trials.

    Raises ConfigError.
    """
    count = workers(settings)
    ((kind, each),) = share(settings).items()
    have = float(ray.cluster_resources().get(kind, 0))
    own = COORDINATION * trials if kind == "CPU" and count > 1 else 0.0
    trials = max(trials, 1)
    possible = int(have - own) * int(1 / each + 1e-9)  # workers: a part of a GPU is always of one GPU
    if count * trials <= possible:
        return
    if kind == "GPU" and not have:
        cure = "RDMC_GPU=false"
    elif possible >= count:
        cure = f"tune.concurrent (or ablation.concurrent) to {possible // count}"
    else:
        cure = f"RDMC_WORKERS={max(possible, 1)}"
    what = f"{trials} trials at once of {count} workers" if trials > 1 else f"{count} workers"
    raise ConfigError(
        f"RDMC_WORKERS: {what} need {count * trials * each + own:g} {kind}s, the cluster has {have:g}; set {cure} or add nodes"
    )
