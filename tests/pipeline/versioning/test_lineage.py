"""Lineage from a real git repository and a dvc.lock as DVC writes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.versioning.dvc import locked_outs
from pipeline.versioning.git import git_commit, git_dirty
from pipeline.versioning.lineage import code_digest, lineage
from rdmc.errors import ConfigError
from tests.support.imports import ROOT

LOCK = """\
schema: '2.0'
stages:
  pack@light:
    cmd: python -m pipeline pack light
    deps: [{path: data/pairs/light, hash: md5, md5: aaaa.dir}]
    outs: [{path: data/shards/light, hash: md5, md5: 0123.dir, size: 9, nfiles: 3}]
  train:
    cmd: python -m pipeline train
    outs:
    - {path: checkpoints/best, hash: md5, md5: 4567.dir}
    - {path: plots/history.csv, hash: md5, md5: 89ab}
"""
HASHES = {"data/shards/light": "0123.dir", "checkpoints/best": "4567.dir", "plots/history.csv": "89ab"}


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in no git repository, whatever lies above it."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def test_commit_changes_and_hashes(outside: Path) -> None:
    git(outside, "init", "-q")
    git(outside, "remote", "add", "origin", "https://me:secret@example.org/x.git")
    (outside / "file").write_text("1")
    assert git_commit(outside) is None, "no commit yet"
    git(outside, "add", "file")
    git(outside, "commit", "-qm", "one")
    (outside / "dvc.lock").write_text(LOCK)
    commit = git_commit(outside)
    assert commit
    assert len(commit) == 40
    assert git_dirty(outside) is False, "what git does not track is no change"
    (outside / "file").write_text("2")
    assert git_dirty(outside) is True
    known = lineage(outside)
    assert known == {"git_commit": commit, "git_dirty": "true", **{f"dvc.{k}": v for k, v in HASHES.items()}}
    assert "secret" not in str(known)


def test_nothing_is_known(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (git_commit(outside), git_dirty(outside), locked_outs(outside), lineage(outside)) == (None, None, {}, {})
    monkeypatch.setenv("PATH", "")
    assert git_commit(outside) is None, "no git"


@pytest.mark.parametrize("text", ["", "stages: 3", "stages: {train: {outs: [{path: x}]}}", "a: [", "\x00"])
def test_a_damaged_lock_records_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    assert locked_outs(tmp_path) == {}


def test_code_digest_is_of_the_code_that_train_declares(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for name in ("rdmc", "pipeline"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    first = code_digest(tmp_path)
    assert first == code_digest(), "wherever the code lies"
    for name in ("rdmc/datasets/benchmarks/facts.py", "pipeline/config/registry.py", "pipeline/stages/evaluate.py"):
        (tmp_path / name).write_text("changed = True")
        assert code_digest(tmp_path) == first, name
    for name in ("rdmc/training/loop.py", "pipeline/stages/train.py", "rdmc/models/new.py"):
        before = code_digest(tmp_path)
        (tmp_path / name).write_text("changed = True")
        assert code_digest(tmp_path) != before, name
    (tmp_path / "dvc.yaml").unlink()
    with pytest.raises(ConfigError, match=r"dvc.yaml: does not declare the stage train .*; run from a checkout"):
        code_digest(tmp_path)
