"""The environment, typed: where things run and where files are. Nothing here changes the result; params.yaml does that.

Each field is an environment variable with the prefix ``RDMC_`` (``RDMC_WORKERS=4``). boto3 reads the credentials and the S3
endpoint (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``, ``AWS_PROFILE``). They are never stored here,
so they cannot reach a log. MLflow's own variable ``MLFLOW_TRACKING_URI`` names the MLflow server.
"""

from __future__ import annotations

import os

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rdmc.errors import ConfigError

CPU_WORKERS = 2


class Settings(BaseSettings):
    """Where the pipeline runs. ``Settings()`` reads the environment; ``read_settings`` does so with a one-line error."""

    model_config = SettingsConfigDict(env_prefix="RDMC_", frozen=True)

    workers: int = Field(default=0, ge=0, le=4096)
    """Number of training workers; 0 means one per GPU, or two CPU workers without a GPU."""
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
    experiment: str = "rdmc"
    """Name of the MLflow experiment."""
    mlflow_timeout: float = Field(default=5.0, gt=0)
    """Seconds to wait for the MLflow server before reporting that it cannot be reached."""

    @field_validator("bucket")
    @classmethod
    def _is_s3(cls, value: str) -> str:
        if value and not value.startswith("s3://"):
            raise ValueError("must begin with s3://")
        return value.rstrip("/")

    @property
    def tracking_uri(self) -> str:
        """MLflow's store: ``MLFLOW_TRACKING_URI``, or a SQLite file in the working folder."""
        return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def read_settings() -> Settings:
    """The settings of this environment. Raises ConfigError, which names the variable, its value and the rule."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "RDMC_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}: {first['input']!r}: {first['msg']}; fix it or unset it") from None
