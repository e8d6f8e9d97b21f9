"""A registry with two versions and a champion, which tests back up, destroy and restore."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_overrides
from pipeline.config.settings import Settings
from tests.support.registry import EASY, PromotionStore, registered_project


@pytest.fixture(scope="session")
def kept(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, params: Params, make_workspace: Callable[..., Paths]
) -> Path:
    """A folder with a project: version 1 is the champion, version 2 a candidate that was refused. No test changes it."""
    root = tmp_path_factory.mktemp("kept")
    with registered_project(root, empty_store, make_workspace, params, (-2.0, 10.0)) as made:
        assert made.promote("1")
        assert not made.promote("2")
    return root


@pytest.fixture
def store(kept: Path, tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> PromotionStore:
    """The test's own copy, in the working folder. The address of its database is new, for MLflow keeps databases open."""
    shutil.copytree(kept, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    uri = f"sqlite:///{tmp_path / 'project/mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return PromotionStore(Paths(), MlflowClient(uri, uri), with_overrides(params, EASY))


@pytest.fixture
def project(store: PromotionStore) -> Project[Params]:
    return Project(store.params, Settings(), store.workspace)
