"""PostgreSQL as a service: its data folder, its user, its password, its return after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.stack import postgres
from pipeline.stack.postgres import data_folder, make_database, programs_for, run_as, service
from pipeline.stack.processes import Process
from pipeline.stack.service import RUNNING, bring_down, bring_up, condition
from pipeline.stack.state import State
from rdmc.errors import ConfigError
from tests.support.ports import free_port


def installed(debian: Path, *versions: str) -> Path:
    """A folder of PostgreSQL's programs as Debian lays it out."""
    for version in versions:
        (debian / version / "bin").mkdir(parents=True)
        (debian / version / "bin/initdb").touch()
    return debian


def test_the_newest_programs_make_data_and_those_that_made_them_serve_them(tmp_path: Path) -> None:
    debian, data = installed(tmp_path / "lib", "9.6", "15", "17"), tmp_path / "data"
    assert programs_for(data, debian) == debian / "17/bin"
    data.mkdir()
    (data / "PG_VERSION").write_text("15\n")
    assert programs_for(data, debian) == debian / "15/bin"
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigError, match=r"was made by PostgreSQL 16, .* apt-get install postgresql-16"):
        programs_for(data, debian)


def test_without_postgresql_one_line_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError) as error:
        programs_for(tmp_path, tmp_path / "none")
    assert str(error.value) == "PostgreSQL: is not installed; sudo apt-get install postgresql, then run this again"


def test_root_without_the_user_postgres_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(postgres, "SYSTEM_USER", "no-such-user")
    with pytest.raises(ConfigError, match="does not run as root, and there is no user postgres; run this as another user"):
        run_as()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run_as() == ""


def test_it_serves_with_its_password_alone_and_returns_after_a_kill(state: State) -> None:
    try:
        port = free_port()
        made = service(state, port)
    except ConfigError as error:
        pytest.skip(str(error))
    password = state.secret("postgres")
    assert password not in " ".join(made.command)
    bring_up(made, state)
    make_database(state, port)
    make_database(state, port)
    where: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": "mlflow", "dbname": "mlflow"}
    with psycopg.connect(**where, password=password) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(**where, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(**where)
    process = state.process("postgres")
    assert process
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60)
    assert bring_up(service(state, port), state)
    with psycopg.connect(**where, password=password) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    assert data_folder(state, run_as()) == (state.root / "postgres").resolve()
    assert bring_down(state, "postgres")
    assert condition(made, state) != RUNNING
    assert password not in state.log("postgres").read_text()


def test_the_lock_file_of_a_killed_server_goes_and_that_of_a_running_one_stays(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    with subprocess.Popen(["sleep", "600"]) as other:
        lock.write_text(f"{other.pid}\n{tmp_path}\n")
        postgres._forget_killed(tmp_path)
        assert lock.exists()
        os.kill(other.pid, signal.SIGKILL)
        assert Process.of(other.pid).wait(60)
        postgres._forget_killed(tmp_path)
        assert not lock.exists(), "although the process was not waited for"
