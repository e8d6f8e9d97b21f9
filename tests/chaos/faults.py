"""A stack of real services, and ten kinds of faults for it: processes that are killed, servers that go away, a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.stack import mlflow_server, postgres, ray_nodes, s3_server
from pipeline.stack.commands import client_variables, down, up
from pipeline.stack.processes import Process, in_session, marked
from pipeline.stack.state import State
from tests.support.imports import ROOT
from tests.support.waiting import until

AWAY = (2.0, 12.0)
"""Seconds for which a server is away or a disk is full: at least, at most."""
DISK_MB = 96
TRAINERS = ("ray::RayTrainWorker", "ray::ImplicitFunc")
"""How the names of processes begin that train: for `train`, and for the trials of a sweep."""
UNSENT = "`python -m pipeline tune --resume` sends the rest"
"""What a sweep says at its end where MLflow does not have everything."""


@dataclass
class Command:
    """A command of the pipeline that a user starts again whenever it dies."""

    bed: Bed
    arguments: tuple[str, ...]
    log: Path
    variables: Mapping[str, str]
    again: tuple[str, ...] = ()
    """What a later start says besides ``arguments``."""
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Its output follows that of earlier starts."""
        self.log.touch()
        self.starts += 1
        environment = {**os.environ, **self.variables, "NO_COLOR": "1", "COLUMNS": "200"}
        words = [*self.arguments, *(self.again if self.starts > 1 else ())]
        with self.log.open("ab") as output:
            output.write(f"--- start {self.starts}\n".encode())
            output.flush()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *words], cwd=ROOT, env=environment, stdout=output, stderr=output
            )

    def keep_up(self) -> bool:
        """Start it again if it has died, or asks for it at its end. Returns whether it has ended well."""
        assert self.process
        code = self.process.poll()
        if code == 0 and UNSENT not in self.text.rpartition("--- start")[2]:
            return True
        if code is not None:
            assert self.starts < self.bed.most_starts, self.text[-6000:]
            self.bed.at_rest()
            self.start()
        return False

    @property
    def text(self) -> str:
        """What it has printed in all its starts."""
        return self.log.read_text(errors="replace")


@dataclass
class Bed:
    """The stack in a folder, and the commands that use it."""

    folder: Path
    at_rest: Callable[[], None] = lambda: None
    """Called when a command has died, before it is started again."""
    most_starts: int = 40
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self.state = State(self.folder / ".stack")

    def up(self) -> None:
        """Start what does not run, as `make up` does."""
        up(self.state, {})

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the stack's clients."""
        return client_variables(self.state, self.state.ports())

    @property
    def bucket(self) -> Path:
        """The folder of the bucket's files."""
        return self.state.root / s3_server.NAME / s3_server.BUCKET / s3_server.PREFIX

    def kill(self, name: str, kind: str = "") -> None:
        """Kill the processes of a service whose command begins with ``kind``. There must be one: a fault has a victim."""
        found = self.processes(name, kind)
        assert found, f"{name}: no process of {kind or 'it'} to kill"
        for process in found:
            process.send(signal.SIGKILL)

    def processes(self, name: str, kind: str = "") -> list[Process]:
        """The processes of a service whose command begins with ``kind``."""
        return [process for process in marked(self.state.mark(name)) if _command(process).startswith(kind)]


def _command(process: Process) -> str:
    """The name of a process's program, or its title."""
    with suppress(OSError):
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        return words[0].decode(errors="replace").rpartition("/")[2] if words[0].startswith(b"/") else words[0].decode()
    return ""


def worker(bed: Bed, command: Command, rng: np.random.Generator) -> None:
    """SIGKILL of one process that trains."""

    def found() -> list[Process]:
        return [one for name in ray_nodes.WORKERS for kind in TRAINERS for one in bed.processes(name, kind)]

    until(found)  # none trains while a training starts again
    victims = found()
    victims[int(rng.integers(len(victims)))].send(signal.SIGKILL)


def raylet(bed: Bed, command: Command, rng: np.random.Generator) -> None:
    """SIGKILL of one node's raylet; the node is then started again."""
    bed.kill(str(rng.choice(ray_nodes.WORKERS)), "raylet")
    time.sleep(float(rng.uniform(*AWAY)))
    bed.up()


def node(bed: Bed, command: Command, rng: np.random.Generator) -> None:
    """SIGKILL of everything on one node; the node is then started again."""
    bed.kill(str(rng.choice(ray_nodes.WORKERS)))
    time.sleep(float(rng.uniform(*AWAY)))
    bed.up()


def head(bed: Bed, command: Command, rng: np.random.Generator) -> None:
    """SIGKILL of everything on the head; then a new head, which is a new cluster."""
    bed.kill(ray_nodes.HEAD)
    time.sleep(float(rng.uniform(*AWAY)))
    bed.up()


def driver(bed: Bed, command: Command, rng: np.random.Generator) -> None:
    """SIGKILL of the command."""
    assert command.process
    command.process.kill()


def sigterm(bed: Bed, command: Command, rng: np.random.Generator) -> None:
    """SIGTERM to the command, which ends in order."""
    assert command.process
    command.process.terminate()


def _away(name: str) -> Callable[[Bed, Command, np.random.Generator], None]:
    def fault(bed: Bed, command: Command, rng: np.random.Generator) -> None:
        process = bed.state.process(name)
        assert process is not None, f"{name} does not run"
        process.send(signal.SIGKILL)
        until(lambda: not process.alive)
        until(lambda: not in_session(process.pid) or name != postgres.NAME)
        for rest in bed.processes(name):
            rest.send(signal.SIGKILL)
        time.sleep(float(rng.uniform(*AWAY)))
        bed.up()

    return fault


def full_disk(bed: Bed, command: Command, rng: np.random.Generator) -> None:
    """No byte left on the disk of the S3 server, for a while; what others delete there is taken too."""
    filler = bed.state.root / s3_server.NAME / "filler"
    end = time.monotonic() + float(rng.uniform(*AWAY))
    with filler.open("wb", buffering=0) as file:
        size = 1 << 20
        while time.monotonic() < end:
            try:
                file.write(bytes(size))
            except OSError:
                size = 1 << 12
                time.sleep(0.01)
    filler.unlink()


FAULTS: dict[str, Callable[[Bed, Command, np.random.Generator], None]] = {
    "worker": worker,
    "raylet": raylet,
    "node": node,
    "head": head,
    "driver": driver,
    "SIGTERM": sigterm,
    "S3": _away(s3_server.NAME),
    "MLflow": _away(mlflow_server.NAME),
    "PostgreSQL": _away(postgres.NAME),
    "full disk": full_disk,
}


@contextmanager
def running_bed(folder: Path) -> Iterator[Bed]:
    """A stack whose bucket lies on a small disk of its own. Everything is stopped afterwards."""
    bed = Bed(folder)
    bed.state.make()
    disk = bed.state.root / s3_server.NAME
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", str(disk)], check=True)
    try:
        bed.up()
        yield bed
    finally:
        down(bed.state, delete=False)
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
