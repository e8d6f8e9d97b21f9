"""Lineage from a real git repository and a dvc.lock as DVC writes it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.versioning.dvc import locked_outs
from pipeline.versioning.git import git_commit, git_dirty
from pipeline.versioning.lineage import lineage

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
