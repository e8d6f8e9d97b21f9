"""What code and data a result comes from: git's commit and DVC's hashes. None of it is needed for a run to work.

Only the commit is asked of git, never the remote, whose URL may hold a credential.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import rdmc


def lineage(root: Path = Path()) -> dict[str, str]:
    """``git_commit``, ``git_dirty`` and ``dvc.<out>``: md5, of those that are known."""
    commit, dirty = git_commit(root), git_dirty(root)
    found = {"git_commit": commit, "git_dirty": None if dirty is None else str(dirty).lower()}
    return {
        **{name: value for name, value in found.items() if value is not None},
        **{f"dvc.{path}": md5 for path, md5 in (dvc_hashes(root) or {}).items()},
    }


def code_digest(library: Path = Path(rdmc.__file__).parent) -> str:
    """SHA-256 (hex) of the code that trains, so that weights of other code are not taken up."""
    digest = hashlib.sha256()
    for name in ("ray_train.py", "worker.py", "in_process.py"):
        digest.update(Path(__file__).parents[1].joinpath("training", name).read_bytes())
    for path in sorted(library.rglob("*.py")):
        digest.update(f"\0{path.relative_to(library).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def git_commit(root: Path = Path()) -> str | None:
    """The commit that is checked out; None without git, outside a repository, or before the first commit."""
    return _git(root, "rev-parse", "--verify", "HEAD")


def git_dirty(root: Path = Path()) -> bool | None:
    """Whether a tracked file differs from the commit; None where there is no commit to differ from."""
    if git_commit(root) is None:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return None if changed is None else bool(changed)


def dvc_hashes(root: Path = Path()) -> dict[str, str] | None:
    """The md5 that dvc.lock has for each stage's outs, by path; None without a readable dvc.lock."""
    try:
        lock = YAML(typ="safe", pure=True).load(root / "dvc.lock")
        outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
        return {str(out["path"]): str(out["md5"]) for out in outs}
    except (OSError, UnicodeDecodeError, YAMLError, AttributeError, KeyError, TypeError):
        return None


def _git(root: Path, *arguments: str) -> str | None:
    """What a git command prints; None where it fails or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
