"""A head with the credentials of a bucket and the address of an MLflow store in its own environment, as a cluster has them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray._private.authentication_test_utils import reset_auth_token_state

from pipeline.jobs.client import ADDRESS, Jobs
from tests.support.ray_head import Head, ray_head
from tests.support.s3 import S3Server


@dataclass(frozen=True)
class Cluster:
    """A head and its MLflow store."""

    head: Head
    store: str

    def jobs(self, monkeypatch: pytest.MonkeyPatch) -> Jobs:
        """A client in this process, whose environment has the cluster's token."""
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.setenv(name, self.head.environment[name])
        reset_auth_token_state()  # Ray reads both once in a process
        monkeypatch.setenv(ADDRESS, "")
        return Jobs(self.head.dashboard)


@pytest.fixture(autouse=True)
def _ray_forgets_the_token() -> Iterator[None]:
    """Let Ray read its token again after a test, once the test's environment is gone."""
    yield
    reset_auth_token_state()


@pytest.fixture(scope="session")
def jobs_cluster(s3_host: S3Server, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    database = tmp_path_factory.mktemp("jobs") / "mlflow.db"
    shutil.copy(empty_store, database)
    with ray_head(cpus=3, variables={**s3_host.environment, "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}) as head:
        yield Cluster(head, f"sqlite:///{database}")
