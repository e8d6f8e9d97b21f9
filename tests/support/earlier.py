"""A project with a version that earlier code registered (tests/fixtures), unpacked and given today's code."""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from pathlib import Path

from tests.support.imports import ROOT
from tests.support.project import COPIED, run

FIXTURE = ROOT / "tests/fixtures/registered-e690b72.tar.xz"


def unpack_earlier(folder: Path) -> Path:
    """The project in ``folder``, as it was left, with the code of today committed on top; its shards come from DVC's cache."""
    with tarfile.open(FIXTURE) as packed:
        packed.extractall(folder, filter="data")
    root = folder / "project"
    relocate(root / "mlflow.db", (root / "made-in").read_text(), str(root))
    for name in COPIED:
        place = root / name
        if place.is_dir():
            shutil.rmtree(place)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    run(root, "git", "add", "--all")
    run(root, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "the code of today")
    run(root, "dvc", "checkout", "--quiet", "--allow-missing")
    return root


def relocate(database: Path, before: str, now: str) -> None:
    """Put a moved project's folder in the place of the old one throughout an MLflow store, which holds absolute paths."""
    store = sqlite3.connect(database)
    with store:
        for (table,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, *_ in store.execute(f"PRAGMA table_info({table})").fetchall():
                store.execute(f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?) WHERE {column} LIKE ?",  # noqa: S608
                              (before, now, f"%{before}%"))  # fmt: skip
    store.close()
