"""The environment, typed: where things run and where files are. Nothing here changes the result; params.yaml does that.

Each field is an environment variable with the prefix ``RDMC_`` (``RDMC_WORKERS=4``). boto3 reads the credentials and the S3
endpoint (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``, ``AWS_PROFILE``). They are never stored here,
so they cannot reach a log. MLflow's own variable ``MLFLOW_TRACKING_URI`` names the MLflow server.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rdmc.errors import ConfigError

CPU_WORKERS = 2
PREFIX = "RDMC_"
FILE = "sqlite:///"
"""How the address of a SQLite store begins. Its path follows, relative or absolute."""
SERVICE = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
"""Variables that Kubernetes sets in every pod for a service whose name begins with ``rdmc-``."""


class Settings(BaseSettings):
    """Where the pipeline runs. ``Settings()`` reads the environment; ``read_settings`` does so with a one-line error."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    workers: int = Field(default=0, ge=0, le=4096)
    """Number of training workers; 0 means one per GPU, or two CPU workers without a GPU."""
    min_workers: int = Field(default=0, ge=0, le=4096)
    """With how few workers `train` begins, and goes on where nodes are lost; 0 means no fewer than ``workers``. It takes as
    many as there is room for, in numbers that divide the batch, and more when nodes come."""
    gpu: bool | None = None
    """Whether to train on GPUs; unset uses GPUs if there are any."""
    gpus_per_worker: float = Field(default=1, gt=0, le=1)
    """Share of a GPU for each worker. With 0.5, two one-worker trials share one GPU."""
    ray_address: str = "local"
    """A Ray cluster (``auto``, ``host:6379``); ``local`` starts one for this process. A Ray job uses its own cluster."""
    bucket: str = ""
    """``s3://bucket/prefix`` for DVC's remote, Ray's checkpoints, MLflow's artifacts; empty keeps all on the local disk."""
    data: str = ""
    """Folder that holds ``data/``, ``checkpoints/``, ``metrics/`` and ``plots/``; empty means the working folder."""
    storage: str = ""
    """Folder that all workers can write, for checkpoints of running trainings; empty means ``runs/`` or the bucket."""
    cache_mb: int = Field(default=1024, ge=16)
    """MB of decoded images that one worker may keep in memory."""
    shard_cache: str = ""
    """Folder on a node's own disk for shards from the bucket, shared by its processes; empty means ``.cache/shards``."""
    shard_cache_mb: int = Field(default=20_000, ge=1)
    """MB that these shards may use; the least recently used are removed first."""
    loaders: int = Field(default=0, ge=0, le=256)
    """Processes that decode images for each training worker; 0 means a thread of the worker."""
    compile: bool = False
    """Whether torch.compile makes fused kernels of a training's network and loss. It takes minutes at the first step, and a GPU
    then saves a few percent (docs/benchmarks.md)."""
    metrics: str = ""
    """``host:port`` at which ``train`` serves its figures to Prometheus; empty serves nothing."""
    wait: float = Field(default=600.0, ge=1)
    """Seconds that a training waits for free resources of a cluster that others use too."""
    autoscaling: bool = False
    """Whether the cluster adds nodes for workers that wait, so that a training may ask for more than it has now."""
    outage: float = Field(default=300.0, ge=0)
    """Seconds for which requests to the bucket of a running training are repeated while its server cannot be reached."""
    experiment: str = "rdmc"
    """Name of the MLflow experiment."""
    mlflow_timeout: float = Field(default=5.0, gt=0)
    """Seconds to wait for the MLflow server before reporting that it cannot be reached."""

    git_commit: str = Field(default="", pattern="^([0-9a-f]{40,64})?$")
    """The commit that a job's code was taken from. `submit` sets it and the next two; they count only where there is no git."""
    git_dirty: bool | None = None
    """Whether tracked files differed from that commit."""
    git_code: str = ""
    """Whether the commit has all code of the job: ``committed``, or which files it does not have."""

    @field_validator("bucket")
    @classmethod
    def _is_s3(cls, value: str) -> str:
        if value and not value.startswith("s3://"):
            raise ValueError("must begin with s3://")
        return value.rstrip("/")

    @field_validator("metrics")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and not re.fullmatch(r"[\w.-]+:\d{1,5}", value):
            raise ValueError("must be host:port, such as 127.0.0.1:8001")
        return value

    @property
    def tracking_uri(self) -> str:
        """MLflow's store: ``MLFLOW_TRACKING_URI``, or a SQLite file in the working folder.

        In a DVC experiment, a relative file is that of the main checkout. An experiment may run in a temporary copy of the
        project, which DVC deletes. A submitted job has no file that stays, so it needs a server: without one, ConfigError.
        """
        if self.git_commit and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise ConfigError("MLFLOW_TRACKING_URI: is not set on this node, so a job's runs are lost; set it, restart Ray")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{FILE}mlflow.db"
        name, main = uri.removeprefix(FILE), os.environ.get("DVC_ROOT", "")
        if dvc_experiment() and main and uri.startswith(FILE) and not name.startswith("/"):
            return f"{FILE}{Path(main) / name}"
        return uri


def dvc_experiment() -> str:
    """The name of the DVC experiment that this process is a stage of (``dvc exp run``); empty outside of one."""
    return os.environ.get("DVC_EXP_NAME", "")


def read_settings() -> Settings:
    """The settings of this environment. Raises ConfigError, which names the variable, its value and the rule."""
    _require_known(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}: {first['input']!r}: {first['msg']}; fix it or unset it") from None


def _require_known(names: Iterable[str]) -> None:
    """Raise ConfigError for a variable that looks like a setting and is none, such as a misspelt one."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in sorted(names):
        if name.upper().startswith(PREFIX) and name.upper() not in known and not SERVICE.fullmatch(name):
            near = difflib.get_close_matches(name.upper(), known, 1, 0)[0]
            raise ConfigError(f"{name}: is no setting, the nearest is {near}; fix its name or unset it (docs/cluster.md)")
