"""The stack's folder: data, logs, process numbers, ports and secrets, and the lock that lets one command at a time change them.

Secrets are files that only their owner can read (0600), in a folder that only he can enter (0700).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.stack.processes import Process
from rdmc.errors import ConfigError
from rdmc.files import write_text

HOST = "127.0.0.1"
FOLDER = Path(".stack")
PORTS = {
    "mlflow": 5000,
    "s3": 9000,
    "postgres": 5432,
    "ray": 6379,
    "dashboard": 8265,
    "client": 10001,
    "metrics-head": 8080,
    "metrics-worker-1": 8081,
    "metrics-worker-2": 8082,
    "metrics-dashboard": 8083,
    "metrics-autoscaler": 8084,
}
"""The ports by what listens there, with the number that is taken if it is free when the stack is started for the first time.

The last two are not Ray's own defaults (44227 and 44217): every Ray that a command starts for itself takes those.
"""
FREE_TRIES = 100


@dataclass(frozen=True)
class State:
    """The files of a stack in ``root``, which is absolute."""

    root: Path

    @classmethod
    def here(cls, project: Path = Path()) -> State:
        """The stack of the project in a folder."""
        return cls((project / FOLDER).absolute())

    def make(self) -> None:
        """Make the folder. Other users may pass through it, as PostgreSQL's user must, and can list nothing."""
        self.root.mkdir(exist_ok=True)
        self.root.chmod(0o711)
        for name in ("secrets", "logs", "pids"):
            (self.root / name).mkdir(exist_ok=True)
            (self.root / name).chmod(0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to change this stack. Raises ConfigError if another command holds it."""
        self.make()
        with (self.root / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"{self.root}: another `stack up` or `down` is at work here; wait for its end, then run this again"
                ) from None
            yield

    def log(self, service: str) -> Path:
        """What a service prints."""
        return self.root / "logs" / f"{service}.log"

    def mark(self, service: str) -> str:
        """What the processes of a service have in their environment (``processes.MARK``)."""
        return f"{self.root}:{service}"

    def secret(self, name: str, length: int = 32) -> str:
        """The secret of this name: hexadecimal digits, made at the first call."""
        path = self.secret_file(name)
        if not path.exists():
            write_secret(path, secrets.token_hex(length // 2))
        return path.read_text()

    def secret_file(self, name: str) -> Path:
        """The file of a secret."""
        return self.root / "secrets" / name

    def process(self, service: str) -> Process | None:
        """The process that was started for a service; None if there is no record, or an unreadable one."""
        record = self._record(service)
        return Process(record["pid"], record["identity"]) if record else None

    def stop_signal(self, service: str) -> int:
        """The signal that stops the recorded process of a service."""
        return int(self._record(service).get("stop", signal.SIGTERM))

    def keep_process(self, service: str, process: Process, stop: int = signal.SIGTERM) -> None:
        """Record the process of a service and the signal that stops it."""
        record = {"pid": process.pid, "identity": process.identity, "stop": int(stop)}
        write_text(self._record_file(service), json.dumps(record))

    def drop_process(self, service: str) -> None:
        """Forget the process of a service."""
        self._record_file(service).unlink(missing_ok=True)

    def _record_file(self, service: str) -> Path:
        return self.root / "pids" / f"{service}.json"

    def _record(self, service: str) -> dict[str, Any]:
        """The record of a service's process; empty if there is none, or an unreadable one."""
        try:
            record = json.loads(self._record_file(service).read_text())
            return {"pid": int(record["pid"]), "identity": str(record["identity"]), "stop": int(record["stop"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    @property
    def ports_file(self) -> Path:
        """The ports that were chosen, by name (JSON)."""
        return self.root / "ports.json"

    def ports(self) -> dict[str, int]:
        """The ports that were chosen; empty before the first start. Raises ConfigError for a file that cannot be used."""
        if not self.ports_file.exists():
            return {}
        try:
            found = dict(json.loads(self.ports_file.read_text()))
            return {name: _number(found[name]) for name in PORTS if name in found}
        except (ValueError, TypeError):
            raise ConfigError(
                f"{self.ports_file}: not an object of ports from 1 to 65535 by name; fix it, or delete it to choose new ones"
            ) from None

    def choose_ports(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """All ports: those ``wanted``, else those chosen before, else the usual ones, or free ones where these are taken.

        They are recorded. Raises ConfigError for two services with one port.
        """
        before = self.ports()
        chosen: dict[str, int] = {**before, **wanted}
        for name, usual in PORTS.items():
            if name not in chosen:
                chosen[name] = usual if is_free(usual) and usual not in chosen.values() else _free_port(chosen.values())
        by_number: dict[int, str] = {}
        for name, number in chosen.items():
            if number in by_number:
                raise ConfigError(
                    f"port {number}: is given to both {by_number[number]} and {name}; give one another with --port NAME=NUMBER"
                )
            by_number[number] = name
        if chosen != before:
            write_text(self.ports_file, json.dumps(chosen, indent=2) + "\n")
        return chosen

    def outside(self, name: str, parent: Path) -> Path:
        """A folder of this stack in ``parent``, for what cannot lie in the stack's own; its name is the stack's digest."""
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:8]
        return parent / f"rdmc-{digest}-{name}"

    def delete(self) -> None:
        """Delete the folder, and those of ``outside`` that links in it lead to. What a user's own links lead to stays."""
        for link in self.root.iterdir():
            if link.is_symlink():
                target, name = link.resolve(), self.outside(link.name, Path()).name
                for place in (target, target.parent):
                    if place.name == name:
                        shutil.rmtree(place)
        shutil.rmtree(self.root)


def own_folder(path: Path, uid: int) -> None:
    """Make a folder (0700) of a user, in a place that others can write to too. Raises ConfigError if it is somebody else's."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or status.st_uid not in (os.geteuid(), uid):
        raise ConfigError(f"{path}: belongs to another user, so the stack cannot use it; delete it and run this again")
    path.chmod(0o700)
    if status.st_uid != uid:
        os.chown(path, uid, -1)


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can ever read (0600)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def is_free(port: int) -> bool:
    """Whether this user can listen on a port of the loopback address now."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended must not block the port
        try:
            place.bind((HOST, port))
            place.listen(1)
        except OSError:
            return False
        return True


def _free_port(taken: Collection[int]) -> int:
    """A free port that is not among ``taken``."""
    for _ in range(FREE_TRIES):
        with socket.socket() as place:
            place.bind((HOST, 0))
            port = int(place.getsockname()[1])
        if port not in taken:
            return port
    raise ConfigError(f"{HOST}: no free port; end some programs and run this again")


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 16:
        raise ValueError
    return value
