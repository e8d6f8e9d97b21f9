"""The environment, typed: where things run and lie. Nothing here changes the result; params.yaml does that.

Every field is an environment variable with the prefix ``RDMC_`` (``RDMC_WORKERS=4``). Credentials and the S3 endpoint are
those that boto3 reads (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``, ``AWS_PROFILE``): they are
never held here, so they cannot reach a log. The MLflow server is named by MLflow's own ``MLFLOW_TRACKING_URI``.
"""

from __future__ import annotations

import os

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rdmc.errors import ConfigError

CPU_WORKERS = 2


class Settings(BaseSettings):
    """Where the pipeline runs. ``Settings()`` reads the environment; use ``read_settings`` for a one-line error."""

    model_config = SettingsConfigDict(env_prefix="RDMC_", frozen=True)

    workers: int = Field(default=0, ge=0, le=4096)
    """Training workers; 0 takes one per GPU, or two CPU workers where there is no GPU."""
    gpu: bool | None = None
    """Train on GPUs; unset takes them where there are any."""
    gpus_per_worker: float = Field(default=1, gt=0, le=1)
    """Part of a GPU that a worker takes, so that trials of one worker can share one: 0.5 puts two on each."""
    ray_address: str = "local"
    """A Ray cluster (``auto``, ``host:6379``); ``local`` starts one in this process. A Ray job's own cluster wins."""
    bucket: str = ""
    """``s3://bucket/prefix`` for DVC's remote, Ray's checkpoints and MLflow's artifacts; empty keeps all on local disk."""
    data: str = ""
    """Folder that holds ``data/``, ``checkpoints/``, ``metrics/`` and ``plots/``; empty takes the working folder."""
    storage: str = ""
    """Folder that all workers can write, for checkpoints in the making; empty takes ``runs/`` or the bucket."""
    cache_mb: int = Field(default=1024, ge=16)
    """Decoded images that one worker may keep in memory, in MB."""
    shard_cache: str = ""
    """Folder of a node's own disk for shards from the bucket, shared by its processes; empty takes ``.cache/shards``."""
    shard_cache_mb: int = Field(default=20_000, ge=1)
    """MB that those may take; the least recently used go first."""
    loaders: int = Field(default=0, ge=0, le=256)
    """Processes that decode for each training worker; 0 leaves it to a thread of the worker's own."""
    experiment: str = "rdmc"
    """MLflow experiment."""
    mlflow_timeout: float = Field(default=5.0, gt=0)
    """Seconds to wait for the MLflow server before saying that it cannot be reached."""

    @field_validator("bucket")
    @classmethod
    def _is_s3(cls, value: str) -> str:
        if value and not value.startswith("s3://"):
            raise ValueError("must begin with s3://")
        return value.rstrip("/")

    @property
    def tracking_uri(self) -> str:
        """MLflow's store: ``MLFLOW_TRACKING_URI`` or a SQLite file in the working folder."""
        return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def read_settings() -> Settings:
    """The settings of this environment. Raises ConfigError naming the variable, its value and the rule."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "RDMC_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}: {first['input']!r}: {first['msg']}; set it right or unset it") from None
