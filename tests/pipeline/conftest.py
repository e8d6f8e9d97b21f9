"""Fixtures of the commands' tests: an MLflow store, a project's folder after ``train``, a repository pushed to a bucket."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from pipeline.config.params import Params, read_params
from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.storage.dvc_remote import connect as connect_dvc
from pipeline.storage.s3 import bucket_of
from pipeline.tracking.client import connect
from rdmc.checkpoint import write_model
from rdmc.data.images import as_png
from rdmc.data.pairs import QUARANTINE, read_index, write_index, write_pair
from rdmc.data.shards import write_shards
from rdmc.files import new_folder, write_text
from rdmc.models.rdmc import RDMC, RDMCConfig
from tests.support.followed import Registry, write_small
from tests.support.pushed import dvc, make_repository
from tests.support.s3 import Host, S3Server

HISTORY = """\
step,epoch,loss,lr,psnr_y,ssim_y
100,1.5,0.5,0.001,20.25,0.7
200,3.0,0.25,0.0005,22.5,
"""


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database, made once because creating its tables takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        connect(Settings()).search_experiments()
    return path


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other client is in use, and the environment has no timeout."""
    monkeypatch.setattr("pipeline.tracking.client._timeouts", WeakKeyDictionary())
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty MLflow store for one test; the environment points to it."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Registry]:
    """A store with versions 1 and 2 of ``rain``; version 1 is the champion."""
    root = tmp_path_factory.mktemp("models")
    shutil.copy(empty_store, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{root}/mlflow.db")
        registry = Registry(MlflowClient(uri, uri), uri, [write_small(root / f"model-{seed}", seed) for seed in (1, 2)])
        for folder in registry.folders:
            registry.add(folder)
        registry.promote(1)
        yield registry


@pytest.fixture(scope="session")
def params() -> Params:
    """The params of the project's params.yaml with two of its datasets, those that ``make_workspace`` packs."""
    whole = read_params(Path(__file__).parents[2] / "params.yaml")
    return whole.model_copy(update={"datasets": {name: whole.datasets[name] for name in ("light", "heavy")}})


@pytest.fixture(scope="session")
def make_workspace() -> Callable[..., Paths]:
    """A function that makes a folder with two small packed datasets and a small model, as after ``train``."""

    def make(root: Path, tests: tuple[int, int] = (3, 2)) -> Paths:
        paths = Paths(root)
        for seed, (name, count) in enumerate(zip(("light", "heavy"), tests, strict=True)):
            _pack(paths, name, count, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = RDMC(RDMCConfig(width=2, passes=1, stem=2))
        with new_folder(paths.best) as folder:
            write_model(folder, network.config, network.state_dict(), {"step": 200})
        write_text(paths.history, HISTORY)
        write_text(paths.train_metrics, json.dumps({"loss": 0.25}))
        write_text(paths.run, json.dumps({"run_id": None}))
        return paths

    return make


def _pack(paths: Paths, dataset: str, tests: int, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def image() -> Any:
        return cv2.GaussianBlur(rng.integers(0, 256, (40, 56, 3)).astype(np.uint8), (9, 9), 3)

    pairs = paths.pairs(dataset)
    entries = []
    for split, count in (("train", 2), ("validation", 1), ("test", tests)):
        for number in range(count):
            clean = image()
            rainy = np.clip(clean + rng.normal(0, 5 + 5 * number, clean.shape), 0, 255).astype(np.uint8)
            entries.append(write_pair(pairs, split, f"{split}-{number}", f"{split}-{number}", as_png(rainy), as_png(clean)))
    write_index(pairs, dataset, entries, len(entries), [])
    write_shards(read_index(pairs), pairs, paths.shards(dataset), dataset, 10**6)
    shutil.copyfile(pairs / QUARANTINE, paths.shards(dataset) / QUARANTINE)


@pytest.fixture
def settings(s3: S3Server) -> Settings:
    """Settings with a bucket for this test."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.bucket(name)
    return Settings(bucket=f"s3://{name}/some/prefix/")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A server with the bucket ``team``; the environment points to it."""
    monkeypatch.setattr(console, "width", 500)
    made = Host(tmp_path / "s3")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in made.server.environment.items():
        monkeypatch.setenv(name, value)
    made.server.bucket("team")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository whose only stage has packed `light` from a source folder."""
    root = tmp_path_factory.mktemp("packed") / "repo"
    make_repository(root, Paths(tmp_path_factory.mktemp("made")))
    return root


@pytest.fixture
def repo(packed: Path, tmp_path: Path) -> Path:
    """A copy of ``packed`` that a test may change."""
    return Path(shutil.copytree(packed, tmp_path / "repo"))


@pytest.fixture(scope="session")
def remote(packed: Path, s3_host: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bucket after `dvc push` in a repository that `connect` has set up."""
    bucket = s3_host.bucket("pushed-once")
    root = Path(shutil.copytree(packed, tmp_path_factory.mktemp("pushed") / "repo"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_host.environment.items():
            patch.setenv(name, value)
        connect_dvc(Settings(bucket="s3://pushed-once/some/prefix"), root)
        dvc(root, "push")
    return bucket


@pytest.fixture
def pushed(repo: Path, remote: Any, settings: Settings, s3: S3Server) -> Path:
    """A repository without shards on disk; they are in a bucket that the test may change."""
    bucket = bucket_of(settings)
    assert bucket
    own = s3.bucket(bucket.name)
    for item in remote.objects.all():
        own.put_object(Key=item.key, Body=item.get()["Body"].read())
    shutil.rmtree(repo / "data")
    shutil.rmtree(repo / ".dvc/cache")
    return repo
