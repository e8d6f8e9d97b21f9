"""``stack up``, ``down`` and ``status``: the file for shells, and the whole stack by the protocol of each service."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from pipeline.stack.commands import ENV, NAMES, as_shell
from pipeline.stack.postgres import programs_for
from pipeline.stack.processes import PROC, Process, in_session, marked
from pipeline.stack.service import is_alive
from pipeline.stack.state import PORTS, State
from rdmc.errors import ConfigError
from tests.support.imports import ROOT
from tests.support.ports import free_port

SECONDS = 840
LOG_A_RUN = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("psnr_y", 31.5)
    mlflow.log_text("rain", "rain.txt")
client = mlflow.MlflowClient()
print(client.get_run(run.info.run_id).data.metrics, mlflow.artifacts.load_text(run.info.artifact_uri + "/rain.txt"))
"""
ON_WORKERS = """
import os, ray
ray.init(address="auto", log_to_driver=False)
@ray.remote
def bucket():
    return os.environ["RDMC_BUCKET"]
workers = [bucket.options(resources={name: 0.1}).remote() for name in ("ray-worker-1", "ray-worker-2")]
print("buckets", ray.get(workers), ray.util.get_node_ip_address())
"""


def test_a_shell_reads_what_was_written() -> None:
    variables = {"PLAIN": "http://127.0.0.1:5000", "HARD": 'it\'s $HOME; "`x`"'}
    script = as_shell(variables) + 'printf "%s\\n" "$PLAIN" "$HARD"'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == list(variables.values())


@pytest.fixture
def project() -> Iterator[Path]:
    """A folder that the user ``postgres`` may enter, as a checkout is."""
    with tempfile.TemporaryDirectory(prefix="stack-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            command(folder, "down", "--delete")


def command(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run ``python -m pipeline stack`` in a folder and return its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    line = [sys.executable, "-m", "pipeline", "stack", *arguments]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def in_shell(folder: Path, *line: str, code: int = 0, **changes: str) -> str:
    """Run a command as in a shell that has read the stack's file, and return its output."""
    script = f"set -a; . .stack/{ENV}; set +a; " + " ".join(f"export {name}={value};" for name, value in changes.items())
    environment = {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}", "HOME": str(folder)}
    environment |= {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    whole = ["sh", "-c", f"{script} exec {shlex.join(line)}"]
    done = subprocess.run(whole, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def pids(state: State) -> dict[str, int]:
    return {name: process.pid for name in NAMES if (process := state.process(name))}


def listening(pid: int) -> set[str]:
    """The addresses that a process listens on, as /proc shows them: hexadecimal, without the port."""
    inodes = set()
    for entry in (PROC / str(pid) / "fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for name in ("tcp", "tcp6") for line in (PROC / "net" / name).read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_whole_stack(project: Path) -> None:
    try:
        programs_for(project)
    except ConfigError as error:
        pytest.skip(str(error))
    state = State.here(project)
    shown = command(project, "up", *(f"--port={name}={free_port()}" for name in PORTS))
    assert shown.count("running") == len(NAMES)
    assert shown.count("started ") == len(NAMES)
    assert stat.S_IMODE((state.root / ENV).stat().st_mode) == 0o600

    assert "{'psnr_y': 31.5} rain" in in_shell(project, "python", "-c", LOG_A_RUN)
    refused = in_shell(project, "python", "-c", LOG_A_RUN, code=1, MLFLOW_TRACKING_PASSWORD="wrong")
    assert "401" in refused
    assert "no such bucket" in in_shell(project, "python", "-m", "pipeline", "connect", code=1, RDMC_BUCKET="s3://none/x")
    assert "refuses" in in_shell(project, "python", "-m", "pipeline", "connect", code=1, AWS_SECRET_ACCESS_KEY="wrong")
    keys = dict(line.split("=", 1) for line in (state.root / ENV).read_text().splitlines() if line.startswith("AWS_"))
    client = boto3.Session().client(
        "s3",
        endpoint_url=keys["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    stored = [item["Key"] for item in client.list_objects_v2(Bucket="rdmc")["Contents"]]
    assert [key for key in stored if key.startswith("main/mlflow/") and key.endswith("rain.txt")], (
        "MLflow's artifacts lie there"
    )
    (project / "job.py").write_text(ON_WORKERS)
    job = ("ray", "job", "submit", "--", "python", str(project / "job.py"))
    assert "buckets ['s3://rdmc/main', 's3://rdmc/main'] 127.0.0.1" in in_shell(project, *job)
    (project / "wrong").write_text("0" * 64)
    assert "succeeded" not in in_shell(project, *job, code=1, RAY_AUTH_TOKEN_PATH=str(project / "wrong"))

    _check_addresses_and_secrets(state)
    _check_kill_and_return(project, state)
    everything = [process for name in NAMES for process in (Process.of(pids(state)[name]), *marked(state.mark(name)))]
    command(project, "down")
    assert [process for process in everything if process.alive] == []
    assert [name for name in NAMES if is_alive(state, name) or marked(state.mark(name))] == []
    assert (state.root / "postgres").exists(), "data stay"
    command(project, "down", "--delete")
    assert not state.root.exists()


def _check_addresses_and_secrets(state: State) -> None:
    """Every process listens on loopback alone; no secret is in a list of processes or a log."""
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    processes = [process for name in NAMES for process in in_session(pids(state)[name])]
    assert len(processes) > len(NAMES)
    addresses = {process.pid: listening(process.pid) for process in processes}
    assert {pid: found - loopback for pid, found in addresses.items() if found - loopback} == {}
    assert len([pid for pid, found in addresses.items() if found]) >= len(NAMES)
    secrets = [path.read_bytes() for path in (state.root / "secrets").iterdir() if path.name != "s3-access-key"]
    lines = b"".join((PROC / str(process.pid) / "cmdline").read_bytes() for process in processes)
    logs = b"".join(path.read_bytes() for path in state.root.glob("**/*.log") if path.is_file())
    assert len(secrets) == 4
    assert [number for number, secret in enumerate(secrets) if secret in lines or secret in logs] == []


def _check_kill_and_return(project: Path, state: State) -> None:
    """``up`` leaves alone what runs, and starts again what was killed and no more."""
    before = pids(state)
    assert "started" not in command(project, "up")
    assert pids(state) == before
    os.kill(before["mlflow"], signal.SIGKILL)
    assert Process.of(before["mlflow"]).wait(60)
    assert "stopped" in command(project, "status")
    assert command(project, "up").count("started") == 1
    assert {name for name, pid in pids(state).items() if pid != before[name]} == {"mlflow"}
    os.kill(before["postgres"], signal.SIGKILL)
    assert Process.of(before["postgres"]).wait(60)
    assert command(project, "up").count("started") == 1
    assert "{'psnr_y': 31.5} rain" in in_shell(project, "python", "-c", LOG_A_RUN), "MLflow goes on with the new server"
    taken = command(project, "up", "--port", "mlflow=1", code=1)
    assert taken.count("\n") == 1
    assert "the stack runs with" in taken
