"""MLflow's database in one file: SQLite by its own backup, PostgreSQL by pg_dump and pg_restore.

A password stays in the environment of these programs; it is not among their arguments, which every user of a machine sees.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipeline.config.settings import Settings
from pipeline.stack.postgres import installed
from pipeline.tracking.client import shown_uri, sqlite_path
from rdmc.errors import ConfigError, DataError, ServiceError

STORE = "MLFLOW_BACKEND_STORE_URI"
"""The variable that MLflow's server reads its database from."""
SQLITE, POSTGRES = "mlflow.db", "mlflow.pgdump"


def database_of(settings: Settings) -> str:
    """The URI of MLflow's database: that of the server's own variable, else of MLFLOW_TRACKING_URI if it is a database.

    Raises ConfigError if only a server's address is known, or for a database of another kind.
    """
    uri = os.environ.get(STORE) or settings.tracking_uri
    try:
        kind = make_url(uri).get_backend_name()
    except ArgumentError:
        kind = ""
    if kind not in ("sqlite", "postgresql"):
        raise ConfigError(
            f"MLFLOW_TRACKING_URI: {shown_uri(uri)}: names no database, the rule is sqlite or postgresql; "
            f"set {STORE} to that of the server"
        )
    return uri


def dump(uri: str, folder: Path) -> Path:
    """Write a consistent copy of the database into ``folder``, while others use it; return the file. Raises ServiceError."""
    path = sqlite_path(uri)
    if path is None:
        target = folder / POSTGRES
        _run(make_url(uri), "pg_dump", "--format=custom", "--no-owner", f"--file={target}")
        return target
    if not path.is_file():
        raise ServiceError(f"{path}: there is no MLflow store; run `make repro`, or set {STORE}")
    target = folder / SQLITE
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target


def is_empty(uri: str) -> bool:
    """Whether the database has no table. A SQLite file that does not exist is empty. Raises ServiceError."""
    path = sqlite_path(uri)
    if path is None:
        return _run(make_url(uri), "psql", "--no-align", "--tuples-only", f"--command={TABLES}").strip() == "0"
    if not path.exists():
        return True
    with closing(sqlite3.connect(path)) as store:
        return store.execute("SELECT 1 FROM sqlite_master").fetchone() is None


TABLES = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"


def load(uri: str, folder: Path) -> None:
    """Fill the database with the copy in ``folder``, whatever it has now.

    Raises DataError if the copy is of the other kind of database, ServiceError if the database refuses it.
    """
    path = sqlite_path(uri)
    wanted, other = (POSTGRES, SQLITE) if path is None else (SQLITE, POSTGRES)
    if not (folder / wanted).is_file():
        raise DataError(f"{folder}: has {other}, not {wanted}: a copy goes back to its own kind of database; change {STORE}")
    if path is None:
        options = ("--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error")
        _run(make_url(uri), "pg_restore", *options, str(folder / wanted))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.copyfile(folder / wanted, temporary)
    temporary.replace(path)


def _run(url: URL, program: str, *arguments: str) -> str:
    """Run one of PostgreSQL's programs on the database and return its output. Raises ServiceError with its first line."""
    folders = list(installed(program).values())
    found = str(folders[-1] / program) if folders else shutil.which(program)
    if not found:
        raise ServiceError(f"{program}: is not installed; install PostgreSQL's client programs (Debian: postgresql-client)")
    where = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGDATABASE": url.database}
    secret = {"PGPASSWORD": url.password} if url.password else {}
    known = {name: str(value) for name, value in {**where, **secret}.items() if value}
    # pg_restore without a name of a database writes SQL to standard output
    name = [f"--dbname={url.database}"] if program == "pg_restore" else []
    done = subprocess.run(
        [found, "--no-password", *name, *arguments], env={**os.environ, **known}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        first = (done.stderr.strip() or "no message").splitlines()[0]
        raise ServiceError(f"{shown_uri(url.render_as_string())}: {first}; see that PostgreSQL runs and {STORE} is right")
    return done.stdout
