"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.s3 import S3Server, s3_server


def pytest_configure() -> None:
    """Compute on one thread where several test processes share the machine; more threads would wait for one another."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_variables() -> Iterator[None]:
    """Restore the variables of MLflow and Ray, which both set for the whole process, as this program does."""
    kept = _shared_variables()
    yield
    for name in _shared_variables().keys() - kept:
        del os.environ[name]
    os.environ.update(kept)


def _shared_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("MLFLOW_", "RAY_"))}


@pytest.fixture(scope="session")
def s3_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests of a session; tests use it through ``s3``."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_host: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """An S3 server that this process's environment points to, without the user's own AWS configuration."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_host.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    return s3_host


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread: small networks are faster so, above all where other processes use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
