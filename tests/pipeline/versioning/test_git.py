"""git's answers from real repositories: the commit, changes, and the files of a commit."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from pipeline.versioning.git import commit_tags, files_in_commit, git, git_commit, git_dirty
from rdmc.errors import ServiceError

CONTENTS = {
    "rdmc/a.py": b"a = 1\n",
    "rdmc/inner/b.py": b"\xff\n\n\0",
    "rdmc/empty.py": b"",
    "rdmc/with space\nand line.py": b"c",
    "rdmc/\xc3\xa9.py".encode("latin1").decode(): b"accent",
    "other.txt": b"x" * 100_000,
}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def commit(root: Path) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    subprocess.run(["git", *who, "commit", "-qm", "one"], cwd=root, check=True)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of a repository, committed."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    root = tmp_path / "repository/project"
    for name, content in CONTENTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    subprocess.run(["git", "init", "-q"], cwd=root.parent, check=True)
    commit(root)
    return root


def test_files_of_a_commit_below_folders_and_by_name(project: Path) -> None:
    head = git(project, "rev-parse", "HEAD")
    (project / "rdmc/a.py").write_text("changed since")
    found = files_in_commit(project, head, ["rdmc", "other.txt", "absent.py", "../elsewhere", "/etc"])
    assert found == {name: md5(content) for name, content in CONTENTS.items()}
    assert files_in_commit(project, head, ["rdmc/inner"]) == {"rdmc/inner/b.py": md5(CONTENTS["rdmc/inner/b.py"])}
    assert files_in_commit(project, head, ["rdmc/inn"]) == {}, "part of a name is no folder"


def test_files_of_no_commit_are_unknown(project: Path, tmp_path: Path) -> None:
    assert files_in_commit(project, "0" * 40, ["rdmc"]) is None
    assert files_in_commit(tmp_path, "HEAD", ["rdmc"]) is None, "no repository"


def test_commit_and_changes(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(project, "rev-parse", "HEAD")
    assert (git_commit(project), git_dirty(project)) == (head, False)
    (project / "untracked").write_text("new")
    assert git_dirty(project) is False
    (project / "other.txt").write_text("changed")
    assert commit_tags(project) == {"git_commit": head, "git_dirty": "true"}
    assert commit_tags(tmp_path) == {"git_commit": "unknown", "git_dirty": "none"}
    monkeypatch.setenv("PATH", "")
    assert (git_commit(project), git_dirty(project)) == (None, None), "no git"


def test_a_failing_command_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceError, match=r"^`git rev-parse --verify` in /.*project: fatal: .*") as caught:
        git(project, "rev-parse", "--verify", "no-such-branch")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServiceError, match=r"git: .*; install it"):
        git(project, "status")


def test_a_job_without_git_has_the_commit_of_its_submitter(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, other = git(project, "rev-parse", "HEAD"), "b" * 40
    monkeypatch.setenv("RDMC_GIT_COMMIT", other)
    monkeypatch.setenv("RDMC_GIT_DIRTY", "true")
    assert commit_tags(tmp_path) == {"git_commit": other, "git_dirty": "true"}
    assert commit_tags(project) == {"git_commit": head, "git_dirty": "false"}, "where there is git, it counts"
