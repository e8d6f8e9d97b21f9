"""A store with three versions of known quality, for the commands that promote them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.recipe import with_overrides
from pipeline.promotion import champion
from tests.support.registry import EASY, PromotionStore, registered_project


@pytest.fixture(scope="session")
def registered(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, params: Params, make_workspace: Callable[..., Paths]
) -> Path:
    """A folder with data, models and a store. No test changes it."""
    root = tmp_path_factory.mktemp("registered")
    with registered_project(root, empty_store, make_workspace, params, (-0.5, 10.0, -2.0)):
        pass
    return root


@pytest.fixture
def versions(registered: Path, tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> PromotionStore:
    """The test's own copy of the store. Models and images are shared with other tests."""
    shutil.copy(registered / "mlflow.db", tmp_path / "mlflow.db")
    (tmp_path / "mlartifacts").symlink_to(registered / "mlartifacts")
    monkeypatch.chdir(registered)
    monkeypatch.setattr(champion, "PAUSE", 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{tmp_path}/mlflow.db")
    return PromotionStore(Paths(), MlflowClient(uri, uri), with_overrides(params, EASY))
