"""The command line as a whole: its commands, its help, and errors in one line with exit code 1."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.main import get_group

from pipeline import __main__ as cli
from pipeline.cli import data
from tests.support.imports import ROOT
from tests.support.ports import free_port

COMMANDS = {"check", "clean", "connect", "datasets", "derain", "fetch", "leaks", "pack", "prepare", "ui"}
COMMANDS |= {"backup", "diff", "export", "history", "models", "promote", "rebuild", "release", "restore", "rollback", "serve"}
COMMANDS |= {"compare", "downstream", "stack", "submit"}
COMMANDS |= {"ablate", "baseline", "evaluate", "experiments", "profile", "reference", "register", "search", "train", "tune"}
COMMANDS |= {"robustness", "unpaired"}


def act(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m pipeline`` in a process."""
    variables = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment}
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)


def test_the_commands_are_these_and_each_has_help() -> None:
    command = get_group(cli.command_line())
    assert set(command.commands) == COMMANDS
    for name, subcommand in command.commands.items():
        assert len(subcommand.help or "") > 40, name
        for parameter in subcommand.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name} has no help"


def test_help_lists_every_command_and_where_to_configure() -> None:
    shown = act("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in (*COMMANDS, "make repro", "params.yaml"))
    assert "models:/rdmc@candidate" in act("derain", "--help").stdout


def test_version_names_this_project_and_what_it_runs_on() -> None:
    shown = act("--version")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = dict(line.split(" ", 1) for line in shown.stdout.splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert lines[project["name"]] == project["version"]
    assert lines["torch"] == version("torch")
    assert lines["Python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "drizzle"], "'drizzle' is not a dataset of params.yaml (light, heavy, wild)"),
        (["train", "--params", "none.yaml"], "none.yaml"),
        (["derain", "none.png", "out.png", "--model", "checkpoints/none"], "none"),
    ],
)
def test_a_users_mistake_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    params = [] if arguments[0] == "derain" or "--params" in arguments else ["--params", str(ROOT / "params.yaml")]
    done = act(*arguments, *params, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_bad_setting_is_one_line() -> None:
    done = act("prepare", "light", RDMC_WORKERS="many")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: RDMC_WORKERS: 'many'")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.tar"), 1, "'x.tar'; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "data"), 1, "'data'; make it accessible"),
        (BrokenProcessPool("a child\ndied"), 1, "often because memory ran out; free some memory"),
    ],
)
def test_an_error_of_the_machine_is_one_line(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(data, "read_settings", fail)
    monkeypatch.setattr(sys, "argv", ["rdmc", "connect"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr().err
    assert (end.value.code, shown.count("\n")) == (code, 1)
    assert shown.startswith("error: ")
    assert message in shown


def test_ctrl_c_is_one_line_with_the_commands_own_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = KeyboardInterrupt()

    def fail() -> None:
        raise stop

    monkeypatch.setattr(data, "read_settings", fail)
    monkeypatch.setattr(sys, "argv", ["rdmc", "connect"])
    for advice in ("run the same command again, a training resumes where it was", "it resumes from step 7 of 9"):
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert (end.value.code, capsys.readouterr().err) == (130, f"stopped by Ctrl-C; {advice}\n")
        stop.add_note("it resumes from step 7 of 9")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "read_settings", lambda: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["rdmc", "connect"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_ui_refuses_a_taken_port_and_names_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = act("ui", "--port", port, MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"error: port {port} of 127.0.0.1: Address already in use; ")
    done = act("ui", MLFLOW_TRACKING_URI="http://me:secret@tracking:5000/x")
    assert (done.returncode, done.stderr) == (0, "")
    assert "open http://tracking:5000/x\n" in done.stdout


@pytest.mark.slow
def test_ui_serves_the_store_and_shows_no_password(empty_store: Path, tmp_path: Path) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    port = free_port()
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db?timeout=99"}
    command = [sys.executable, "-m", "pipeline", "ui", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        search = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
            b'{"max_results": 9}',
            {"Content-Type": "application/json"},
        )
        for _ in range(1200):
            try:
                with urllib.request.urlopen(search, timeout=5) as answer:  # noqa: S310
                    assert b"Default" in answer.read()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
        else:
            pytest.fail((tmp_path / "log").read_text())
        printed, running = (tmp_path / "log").read_text(), Path(f"/proc/{server.pid}/cmdline").read_text()
        assert f"at http://127.0.0.1:{port}" in printed
        assert "mlflow\0ui" in running
        assert "sqlite" not in running, "a store's address may hold a password"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.parametrize(
    ("goal", "message", "environment"),
    [
        ("repro", "error: RDMC_DATA=/x: ", {"RDMC_DATA": "/x"}),
        ("repro", "error: RDMC_WORKERS: 'many'", {"RDMC_WORKERS": "many"}),
        ("repro", "error: params.yaml: ", {}),
        ("push", "RDMC_BUCKET", {"RDMC_BUCKET": ""}),
        ("pull", "RDMC_BUCKET", {"RDMC_BUCKET": ""}),
    ],
)
def test_make_stops_before_dvc(goal: str, message: str, environment: dict[str, str], tmp_path: Path) -> None:
    folder = Path(sys.executable).parent
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # set by `make test`
    variables = {**outer, "PYTHONPATH": str(ROOT), "PATH": f"{folder}:{os.environ['PATH']}", **environment}
    command = ["make", "-f", str(ROOT / "Makefile"), "-o", "setup", goal]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "dvc repro" not in done.stdout
    assert "dvc push" not in done.stdout
    assert "dvc pull" not in done.stdout


def make_venv(folder: Path, first_lines: str) -> None:
    """What ``make setup`` looks at, with a program that begins with these lines."""
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/dvc").write_text(f"{first_lines}\nimport dvc\n")
    for name in ("pyproject.toml", "constraints.txt", ".venv/.done"):  # the last one is the newest
        (folder / name).write_text("")


@pytest.mark.parametrize("form", ["#!{}/.venv/bin/python3.11", """#!/bin/sh\n'''exec' "{}/.venv/bin/python" "$0" "$@\""""])
def test_make_notices_that_the_folder_was_moved_or_copied(form: str, tmp_path: Path) -> None:
    def planned() -> str:
        command = ["make", "-f", str(ROOT / "Makefile"), "--dry-run", "setup"]
        return subprocess.run(command, cwd=old, check=True, capture_output=True, text=True).stdout

    first = old = tmp_path / "my project"
    make_venv(old, form.format(old))
    assert "-m venv" not in planned()
    old = tmp_path / "copy"
    shutil.copytree(first, old, copy_function=shutil.copy2)
    assert "-m venv --clear .venv" in planned()
    assert f".venv was made for {first}/.venv/bin, so it is made again" in planned()
    shutil.rmtree(first)
    assert "-m venv --clear .venv" in planned()
    first.symlink_to(old)
    assert "-m venv" not in planned(), "the name leads here"


@pytest.mark.parametrize(
    ("goals", "last"),
    [
        (["repro"], "python -m pipeline baseline --hint"),
        (["baseline"], "python -m pipeline baseline"),
        (["experiments"], "python -m pipeline experiments"),
        (["up"], "python -m pipeline stack up"),
        (["down"], "python -m pipeline stack down"),
        (["status"], "python -m pipeline stack status"),
        (["ablation"], "python -m pipeline ablate"),
        (["ablation", "WRITE=docs/ablation.md"], "python -m pipeline ablate --write docs/ablation.md"),
    ],
)
def test_what_make_runs_last(goals: list[str], last: str, tmp_path: Path) -> None:
    """An ablation writes into docs/ only if it is asked to, and repro ends by saying what to commit."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "RDMC_", "WRITE"))}
    command = ["make", "-n", "-f", str(ROOT / "Makefile"), "-o", "setup", *goals]
    done = subprocess.run(command, cwd=tmp_path, env=outer, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == last


def test_make_clean_keeps_a_users_files_in_data(tmp_path: Path) -> None:
    for name in ("data/mine", "data/pairs/light", "data/shards/light", "checkpoints"):
        (tmp_path / name).mkdir(parents=True)
    subprocess.run(["make", "-f", str(ROOT / "Makefile"), "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "mine"]
