"""dvc.lock, dvc.yaml and folders as real DVC has them, and its errors as one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.datasets import dataset_folder
from pipeline.storage.dvc_remote import connect
from pipeline.versioning.dvc import (
    declared_code,
    folder_files,
    folder_md5,
    locked_outs,
    made_by_stages,
    read_lock,
    show_dvc,
)
from rdmc.data.shards import MANIFEST
from rdmc.errors import ConfigError, DataError, ServiceError
from rdmc.files import file_digest
from tests.support.data import toy_project
from tests.support.imports import ROOT
from tests.support.pushed import dvc
from tests.support.waiting import until


def test_fetch_on_a_worker_finds_dvc_lock_beside_the_code(
    pushed: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pushed)
    folder = dataset_folder(toy_project(settings, Paths(tmp_path / "scratch")), "light")
    assert tmp_path / "scratch" in folder.parents
    assert (folder / MANIFEST).read_bytes() == (pushed / "source" / MANIFEST).read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        "<<<<<<< ours\nstages: {\n",
        "- 1",
        "stages: {pack: {outs: [1]}}",
        "stages: {a: {params: 1}}",
        "stages: {a: {params: {params.yaml: 1}}}",
    ],
)
def test_a_damaged_dvc_lock_is_named(content: str, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "dvc.lock").write_text(content)
    with pytest.raises(DataError, match=r"dvc.lock: not what DVC writes .*; run `git checkout dvc.lock`") as caught:
        dataset_folder(toy_project(settings, Paths(tmp_path)), "light")
    assert "\n" not in str(caught.value)


def test_connect_outside_a_dvc_repository_says_so(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"dvc remote add: .*; run this in a git checkout of the project"):
        connect(settings, tmp_path)


FILES = {"a.py": "a = 1\n", "inner/b.py": "", "inner/deep/c d.py": "c", "é.py": "e", "Z.py": "z", "a.txt": "text"}


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A DVC project whose one stage depends on a folder of code and on a file; its dvc.lock is written by DVC."""
    root = tmp_path / "project"
    for name, content in FILES.items():
        (root / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "code" / name).write_text(content)
    (root / "single.py").write_text("s")
    shutil.copy(ROOT / ".dvcignore", root)
    leave_compiled(root)
    declared = {"cmd": "echo made > out.txt", "deps": ["code", "single.py"], "outs": ["out.txt"]}
    (root / "dvc.yaml").write_text(json.dumps({"stages": {"train": declared}}))
    subprocess.run(["git", "init", "--quiet", root], check=True)
    dvc(root, "init")
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    shutil.copy(ROOT / ".dvcignore", root)
    dvc(root, "repro")
    return root


def leave_compiled(root: Path) -> None:
    """What Python and a file manager leave in a folder of code."""
    (root / "code/inner/__pycache__").mkdir(exist_ok=True)
    (root / "code/inner/__pycache__/b.pyc").write_bytes(os.urandom(9))
    (root / "code/.DS_Store").write_bytes(os.urandom(9))


def test_the_digest_of_a_folder_is_the_one_that_dvc_records(stage: Path) -> None:
    (locked,) = read_lock(stage / "dvc.lock") or []
    assert locked.name == "train"
    files = folder_files(stage / "code")
    assert files.keys() == FILES.keys()
    assert locked.deps == {"code": folder_md5(files), "single.py": file_digest(stage / "single.py", "md5")}
    assert locked_outs(stage) == {"out.txt": file_digest(stage / "out.txt", "md5")}


def test_compiled_python_runs_no_stage_again_and_a_change_does(stage: Path) -> None:
    def status() -> str:
        command = [sys.executable, "-m", "dvc", "status", "--json"]
        return subprocess.run(command, cwd=stage, check=True, capture_output=True, text=True).stdout.strip()

    leave_compiled(stage)
    assert json.loads(status()) == {}
    (stage / "code/inner/b.py").write_text("# changed")
    assert "code" in status()


def test_declared_code_is_that_of_files_and_folders(stage: Path) -> None:
    found = [path.relative_to(stage).as_posix() for path in declared_code(stage, "train")]
    assert sorted(found) == sorted([*(f"code/{name}" for name in FILES if name.endswith(".py")), "single.py"])
    with pytest.raises(ConfigError, match=r"dvc.yaml: does not declare the stage tune \(.*\); run from a checkout"):
        declared_code(stage, "tune")


def test_declared_code_of_a_stage_for_each_dataset() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in declared_code(ROOT, "prepare")}
    assert {"pipeline/stages/prepare.py", "rdmc/datasets/embedded.py"} <= found
    assert not any(name.startswith("rdmc/training/") for name in found)


@pytest.mark.parametrize(
    ("dep", "made"),
    [("data/shards", True), ("data", True), ("data/shards/light/x", True), ("data/shard", False), ("rdmc/data", False)],
)
def test_deps_that_stages_make(dep: str, made: bool) -> None:
    assert made_by_stages(dep, ["data/shards", "checkpoints/best"]) is made


def test_a_command_that_fails_names_its_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ServiceError, match=rf"^{tmp_path}: `dvc repro train` failed with exit code \d+; see its output above"):
        show_dvc(tmp_path, "repro", "train")
    assert "not inside of a DVC repository" in "".join(capfd.readouterr())


STANDS_IN = """
import pathlib, signal, subprocess, sys, time
stage = subprocess.Popen([sys.executable, "-c", '''
import pathlib, time
try:
    pathlib.Path("begun").touch(); time.sleep(300)
except KeyboardInterrupt:
    pathlib.Path("saved").touch()
'''])
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as DVC does while a stage runs
sys.exit(stage.wait() + 1)
"""


def test_a_stop_ends_dvc_and_its_stage_and_waits_for_both(tmp_path: Path) -> None:
    (tmp_path / "dvc").mkdir()
    (tmp_path / "dvc/__init__.py").touch()
    (tmp_path / "dvc/__main__.py").write_text(STANDS_IN)
    code = "import sys, pathlib; from pipeline.signals import stop_by_sigterm; from pipeline.versioning.dvc import show_dvc\n"
    code += "stop_by_sigterm(); show_dvc(pathlib.Path(sys.argv[1]), 'repro')"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    until((tmp_path / "begun").exists)
    process.terminate()
    _, said = process.communicate(timeout=120)
    assert (tmp_path / "saved").exists(), "the stage was killed, or it still runs"
    assert "KeyboardInterrupt" in said
