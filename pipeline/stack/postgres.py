"""PostgreSQL, the store of MLflow's runs and models: Debian's programs, a data folder of the stack, loopback TCP only.

PostgreSQL refuses to run as root. There it runs as the user ``postgres``, who owns the data folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline.stack.processes import Process, in_session
from pipeline.stack.service import Service, as_user, inherited
from pipeline.stack.state import HOST, State, own_folder, write_secret
from rdmc.errors import ConfigError, ServiceError, one_line

if TYPE_CHECKING:
    from psycopg import Connection

DEBIAN = Path("/usr/lib/postgresql")
"""Debian's folder of PostgreSQL's programs: below it, a folder for each major version."""
OUTSIDE = Path("/var/tmp")  # noqa: S108  the data folder there belongs to its user alone (own_folder)
"""Where the data lie if the user ``postgres`` cannot enter the project's folder, such as one in /root."""
NAME = "postgres"
SYSTEM_USER = "postgres"
ROLE, DATABASE = "mlflow", "mlflow"
CONNECT_SECONDS = 3
KILLED_SECONDS = 30.0
"""Seconds that the processes of a killed server may take to notice and end."""


def service(state: State, port: int) -> Service:
    """The service. Raises ConfigError without PostgreSQL, or where it may not run."""
    user = run_as()
    data = data_folder(state, user)
    programs = programs_for(data)
    settings = {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",  # a socket in /tmp would collide with that of another server
        "logging_collector": "off",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Service(
        name=NAME,
        address=f"{HOST}:{port}",
        command=(str(programs / "postgres"), "-D", str(data), *options),
        environment={},
        ports={NAME: port},
        ready=lambda: answers(state, port),
        prepare=lambda: prepare(state, data, programs, user),
        user=user,
        stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown: it closes connections instead of waiting for them
    )


def data_folder(state: State, user: str) -> Path:
    """The folder of the data: in the stack's own, or ``OUTSIDE`` if ``user`` cannot enter that. A folder that exists stays."""
    inside = state.root / NAME
    if inside.exists():
        return inside.resolve()
    if user and not _can_enter(state.root, user):
        return state.outside(NAME, OUTSIDE) / "data"
    return inside


def installed(program: str, debian: Path = DEBIAN) -> dict[str, Path]:
    """Debian's folders with one of PostgreSQL's programs, by version, the newest last."""
    found = {folder.parent.name: folder for folder in debian.glob("*/bin") if (folder / program).exists()}
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".") if part.isdecimal()]))


def programs_for(data: Path, debian: Path = DEBIAN) -> Path:
    """The folder with PostgreSQL's programs: of the version that made ``data``, else the newest.

    Raises ConfigError if there are none, or none of that version.
    """
    found = installed("initdb", debian)
    if not found and (elsewhere := shutil.which("initdb")):
        found = {_version(Path(elsewhere)): Path(elsewhere).resolve().parent}
    if not found:
        raise ConfigError("PostgreSQL: is not installed; sudo apt-get install postgresql, then run this again")
    if not (data / "PG_VERSION").exists():
        return list(found.values())[-1]
    made = (data / "PG_VERSION").read_text().strip()
    if made not in found:
        raise ConfigError(
            f"{data}: was made by PostgreSQL {made}, installed is {', '.join(sorted(found))}; sudo apt-get install "
            f"postgresql-{made}, or delete the data: python -m pipeline stack down --delete"
        )
    return found[made]


def run_as() -> str:
    """The user to run PostgreSQL as: empty for this one, ``postgres`` for root. Raises ConfigError if that is impossible."""
    if os.geteuid() != 0:
        return ""
    try:
        subprocess.run(["true"], check=True, capture_output=True, **as_user(SYSTEM_USER))
    except KeyError:
        raise ConfigError(
            "PostgreSQL: does not run as root, and there is no user postgres; run this as another user"
            " or run: adduser --system postgres"
        ) from None
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"PostgreSQL: does not run as root, and root may not become postgres here "
            f"({one_line(error)}); run this as another user"
        ) from None
    return SYSTEM_USER


def prepare(state: State, data: Path, programs: Path, user: str) -> None:
    """Make the data folder (initdb) unless it is there. It gets its name when it is complete.

    Raises ServiceError if initdb fails, ConfigError for a folder that belongs to somebody else.
    """
    inside, home = state.root / NAME, data.parent
    uid = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    if not data.exists():
        if home != state.root:
            own_folder(home, uid)
        new = home / ".postgres.new"
        shutil.rmtree(new, ignore_errors=True)  # of an initdb that was killed
        own_folder(new, uid)
        _initdb(programs, new, state.secret(NAME), user)
        (new / "data").rename(data)
        shutil.rmtree(new)
    if not inside.exists():
        inside.unlink(missing_ok=True)
        inside.symlink_to(data)
    _forget_killed(data)


def _forget_killed(data: Path) -> None:
    """Make way for a new server where the last one was killed: wait for its processes, then drop its lock file.

    PostgreSQL itself takes a killed server for a running one until the system has forgotten its process, which in a container
    may be never. It drops the lock file of any other server that ended.
    """
    lock = data / "postmaster.pid"
    number = lock.read_text().split("\n")[0].strip() if lock.exists() else ""
    if not number.isdecimal() or Process.of(int(number)).alive:
        return
    end = time.monotonic() + KILLED_SECONDS
    while in_session(int(number)):
        if time.monotonic() > end:
            return
        time.sleep(0.05)
    lock.unlink()


def _initdb(programs: Path, folder: Path, password: str, user: str) -> None:
    """Make a data folder, ``folder/data``. The password goes through a file that only the user can read."""
    file = folder / "password"
    write_secret(file, password)
    if user:
        shutil.chown(file, user)
    command: list[str | Path] = [
        programs / "initdb",
        "-D",
        folder / "data",
        "-U",
        ROLE,
        "--auth=scram-sha-256",
        f"--pwfile={file}",
    ]
    command += ["--encoding=UTF8", "--locale=C"]
    done = subprocess.run(command, cwd="/", env=inherited(), capture_output=True, text=True, check=False, **as_user(user))
    if done.returncode:
        raise ServiceError(f"initdb failed ({one_line(done.stderr)}); fix that, then run `stack up` again")


def uri(state: State, port: int) -> str:
    """SQLAlchemy's address of MLflow's database, with the password."""
    return f"postgresql+psycopg://{ROLE}:{quote(state.secret(NAME))}@{HOST}:{port}/{DATABASE}"


def answers(state: State, port: int) -> bool:
    """Whether the server lets MLflow's role in."""
    import psycopg

    try:
        _connect(state, port).close()
    except psycopg.OperationalError:
        return False
    return True


def make_database(state: State, port: int) -> None:
    """Make MLflow's database unless there is one. Raises ServiceError if the server refuses."""
    import psycopg

    try:
        with _connect(state, port) as connection:
            connection.autocommit = True
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f'CREATE DATABASE "{DATABASE}"')
    except psycopg.Error as error:
        raise ServiceError(f"PostgreSQL: {one_line(error)}; read the log, fix that, then run `stack up` again") from None


def _connect(state: State, port: int) -> Connection[Any]:
    import psycopg

    return psycopg.connect(
        host=HOST, port=port, user=ROLE, password=state.secret(NAME), dbname="postgres", connect_timeout=CONNECT_SECONDS
    )


def _can_enter(folder: Path, user: str) -> bool:
    """Whether another user may pass through a folder and those above it."""
    return subprocess.run(["test", "-x", folder], cwd="/", check=False, **as_user(user)).returncode == 0


def _version(initdb: Path) -> str:
    """The major version of an initdb, such as ``17``."""
    shown = subprocess.run([initdb, "--version"], capture_output=True, text=True, check=False).stdout
    return shown.split()[-1].partition(".")[0] if shown.split() else "0"
