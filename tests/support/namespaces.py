"""Machines of Linux namespaces, joined by cables: each with an address, a file system, processes and a name of its own.

The file system of a machine is empty memory. In it are the system's programs and this test's Python environment, which it
cannot change, and nothing else of the machine that the test runs on. A bridge in a namespace of its own joins the machines;
no packet gets out. Nothing has a name outside: when a machine's first process ends, the kernel ends all others and removes the
rest. That process ends with this one at the latest.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

SPACES = ("mount", "net", "pid", "uts", "ipc")
SYSTEM = ("/usr", "/etc")
LINKS = ("/bin", "/sbin", "/lib", "/lib64")
"""Links into /usr, or folders on systems that have not merged the two."""
HOME = "/root"
SCRATCH = ("/tmp", "/var/tmp")  # noqa: S108  those of the machine
FOLDERS = ("/proc", "/sys", "/dev", "/run", "/srv", HOME, *SCRATCH)
PATH = os.pathsep.join([f"{sys.prefix}/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
WAITS = "while read -r _; do :; done"
"""The first process: it reaps orphans, and ends when its input does."""


@dataclass(frozen=True)
class Machine:
    """A running machine."""

    name: str
    address: str
    pid: int
    """The number of its first process, as seen from outside."""

    def inside(self, path: str) -> Path:
        """A file of the machine, as seen from outside."""
        return Path(f"/proc/{self.pid}/root{path}")

    def command(self, *command: str, variables: Mapping[str, str] | None = None, folder: str = HOME) -> list[str]:
        """The command that runs a command in the machine, with no variables of this process."""
        own = {"PATH": PATH, "HOME": HOME, "LANG": "C.UTF-8", **(variables or {})}
        enter = ["nsenter", f"--target={self.pid}", *(f"--{space}" for space in SPACES), "--root", f"--wdns={folder}"]
        return [*enter, "env", "-i", *(f"{name}={value}" for name, value in own.items()), *command]

    def start(
        self, log: Path, *command: str, variables: Mapping[str, str] | None = None, folder: str = HOME
    ) -> subprocess.Popen[bytes]:
        """Start a command; ``log`` gets what it prints. It ends with the machine at the latest."""
        with log.open("ab") as output:
            started = self.command(*command, variables=variables, folder=folder)
            return subprocess.Popen(started, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def run(
        self, *command: str, variables: Mapping[str, str] | None = None, folder: str = HOME, seconds: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        started = self.command(*command, variables=variables, folder=folder)
        return subprocess.run(started, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=seconds)


@dataclass(frozen=True)
class Network:
    """A switch, and the machines that are plugged into it."""

    switch: Machine

    def cut(self, machine: Machine) -> None:
        """Pull a machine's cable: no packet passes, and nobody is told."""
        _ip(self.switch, "link", "set", machine.name, "down")

    def join(self, machine: Machine) -> None:
        """Plug the cable in again."""
        _ip(self.switch, "link", "set", machine.name, "up")


def lacks() -> str:
    """Why no machine can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "network and mount namespaces need root"
    missing = [program for program in ("unshare", "nsenter", "ip", "mount") if not shutil.which(program)]
    if missing:
        return f"{', '.join(missing)}: not installed (util-linux, iproute2)"
    try:
        with machines({"probe": "10.77.0.2"}):
            return ""
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        return f"this system makes no namespaces: {error}"


@contextmanager
def machines(addresses: Mapping[str, str], bits: int = 24) -> Iterator[tuple[Network, list[Machine]]]:
    """Switch machines on, by name and address in one network; switch them off afterwards, with all that runs on them."""
    with ExitStack() as stack:
        switch = stack.enter_context(_machine("switch", ""))
        _ip(switch, "link", "add", "bridge", "type", "bridge")
        _ip(switch, "link", "set", "bridge", "up")
        made = []
        for name, address in addresses.items():
            machine = stack.enter_context(_machine(name, address))
            peer = ["peer", "name", "eth0", "netns", str(machine.pid)]
            _ip(switch, "link", "add", name, "type", "veth", *peer)
            _ip(switch, "link", "set", name, "master", "bridge", "up")
            _ip(machine, "address", "add", f"{address}/{bits}", "dev", "eth0")
            _ip(machine, "link", "set", "eth0", "up")
            made.append(machine)
        yield Network(switch), made


@contextmanager
def _machine(name: str, address: str) -> Iterator[Machine]:
    with TemporaryDirectory(prefix=f"{name}-") as root:
        unshare = ["unshare", *(f"--{space}" for space in SPACES), "--fork", "--kill-child", "--propagation=private"]
        script = "\n".join(
            ["set -e", *_boot(name, Path(root)), f"exec chroot {shlex.quote(root)} /bin/bash -c 'echo up; {WAITS}'"]
        )
        started = subprocess.Popen([*unshare, "bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert started.stdin
        assert started.stdout
        try:
            if started.stdout.readline() != b"up\n":
                raise RuntimeError(f"{name}: the machine does not start")
            (child,) = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
            yield Machine(name, address, int(child))
        finally:
            started.stdin.close()
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                started.kill()  # with it the first process, and so all others
                started.wait()
            started.stdout.close()


def _boot(name: str, root: Path) -> Iterator[str]:
    """The lines of a shell that make a machine's file system in the folder ``root``."""

    def at(path: str) -> str:
        return shlex.quote(f"{root}{path}")

    yield f"mount -t tmpfs -o mode=755 tmpfs {at('')}"
    yield f"mkdir -p {' '.join(at(path) for path in FOLDERS)}; chmod 1777 {' '.join(at(path) for path in SCRATCH)}"
    for path in LINKS:
        if Path(path).is_symlink():
            yield f"ln -s {shlex.quote(str(Path(path).readlink()))} {at(path)}"
    folders = [*SYSTEM, *(path for path in LINKS if Path(path).is_dir() and not Path(path).is_symlink())]
    python = [path for path in dict.fromkeys((sys.base_prefix, sys.prefix)) if not path.startswith("/usr/")]
    for path in [*folders, *python]:
        yield f"mkdir -p {at(path)}; mount --bind {shlex.quote(path)} {at(path)}; mount -o remount,bind,ro {at(path)}"
    yield f"mount -t proc proc {at('/proc')}; mount -t sysfs sysfs {at('/sys')}; mount --rbind /dev {at('/dev')}"
    yield f"mount -t tmpfs -o size=2g tmpfs {at('/dev/shm')}"  # noqa: S108  memory of this machine alone
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {name}\n"  # as Debian writes it
    yield f"printf %s {shlex.quote(hosts)} > {at('/run/hosts')}; mount --bind {at('/run/hosts')} {at('/etc/hosts')}"
    yield f"hostname {shlex.quote(name)}; ip link set lo up"


def _ip(machine: Machine, *arguments: str) -> None:
    """Run ``ip`` in a machine's network. Raises RuntimeError with what it says."""
    done = _run(["nsenter", f"--target={machine.pid}", "--net", "ip", *arguments])
    if done.returncode:
        raise RuntimeError(f"ip {shlex.join(arguments)}: {done.stderr.strip()}")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
