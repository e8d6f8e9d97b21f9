"""Copies of SQLite and PostgreSQL databases, and what is said where there is none."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.backup import make, restore
from pipeline.backup.database import SQLITE, database_of, dump, is_empty, load
from pipeline.backup.registered import snapshot
from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from rdmc.errors import ConfigError, DataError, ServiceError
from tests.support.mlflow_server import postgresql
from tests.support.registry import PromotionStore, register_shifts


def rows(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as store:
        return [number for (number,) in store.execute("SELECT number FROM runs ORDER BY number")]


def test_a_sqlite_database_is_copied_while_it_is_open(tmp_path: Path) -> None:
    path, copies = tmp_path / "store.db", tmp_path / "copies"
    copies.mkdir()
    uri = f"sqlite:///{path}"
    assert is_empty(uri)
    with closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("CREATE TABLE runs (number INTEGER)")
        store.executemany("INSERT INTO runs VALUES (?)", [(1,), (2,)])
        store.commit()
        store.execute("INSERT INTO runs VALUES (3)")  # not committed
        assert dump(uri, copies) == copies / SQLITE
    assert rows(copies / SQLITE) == [1, 2]
    assert not is_empty(uri)
    load(f"sqlite:///{tmp_path / 'new/store.db'}", copies)
    assert rows(tmp_path / "new/store.db") == [1, 2]


def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="there is no MLflow store; run `make repro`"):
        dump(f"sqlite:///{tmp_path / 'none.db'}", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_servers_variable_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql+psycopg://mlflow:secret@127.0.0.1/mlflow")
    assert database_of(Settings()).startswith("postgresql")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "mysql://mlflow:secret@127.0.0.1/mlflow")
    with pytest.raises(ConfigError, match="names no database, the rule is sqlite or postgresql") as caught:
        database_of(Settings())
    assert "secret" not in str(caught.value)


def test_a_password_stays_out_of_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "postgresql+psycopg://mlflow:secret@127.0.0.1:1/mlflow"
    with pytest.raises(ServiceError) as caught:
        dump(uri, tmp_path)
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    if not list(Path("/usr/lib/postgresql").glob("*/bin/pg_dump")):
        with pytest.raises(ServiceError, match="pg_dump: is not installed; install PostgreSQL's client programs"):
            dump(uri, tmp_path)


def test_postgresql_comes_back(store: PromotionStore, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgresql() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        register_shifts(store.workspace, params, MlflowClient(uri, uri), (-2.0,), monkeypatch)
        project = Project(params, Settings(), store.workspace)
        before, backup = snapshot(project), make.run(project, tmp_path / "backups")
        assert before["aliases"] == {"candidate": 1}
        assert (backup / "database/mlflow.pgdump").is_file()
        MlflowClient(uri, uri).delete_registered_model("rdmc")
        shutil.rmtree("mlartifacts")
        assert snapshot(project)["versions"] == {}
        with pytest.raises(ConfigError, match="the database has tables"):
            restore.run(project, backup)
        restore.run(project, backup, replace=True)
        assert snapshot(project) == before
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        with pytest.raises(DataError, match="has mlflow.pgdump, not mlflow.db: a copy goes back to its own kind"):
            restore.run(project, backup, replace=True)
