"""git, as the pipeline needs it: the commit, whether files differ from it, and the files that a commit has.

git is never asked for a remote, whose URL may hold a credential.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

from pipeline.config.settings import read_settings
from rdmc.errors import ServiceError

SECONDS = 60
"""How long a git command may take."""


def git(root: Path, *arguments: str) -> str:
    """What a git command in ``root`` prints. Raises ServiceError with git's last line."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except OSError as error:
        raise ServiceError(f"git: {error}; install it") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise ServiceError(f"`git {' '.join(arguments[:2])}` in {root.absolute()}: {last}") from None
    return done.stdout.strip()


def git_commit(root: Path = Path()) -> str | None:
    """The commit that is checked out; None without git, outside a repository, or before the first commit.

    A job has no repository. There it is the commit that the job was submitted with (``RDMC_GIT_COMMIT``).
    """
    return _head(root) or read_settings().git_commit or None


def git_dirty(root: Path = Path()) -> bool | None:
    """Whether a tracked file differs from the commit; None where there is no commit to differ from.

    In a job it is what the submitter saw (``RDMC_GIT_DIRTY``).
    """
    if _head(root) is None:
        return read_settings().git_dirty
    changed = _text(root, "status", "--porcelain", "--untracked-files=no")
    return None if changed is None else bool(changed)


def commit_tags(root: Path = Path()) -> dict[str, str]:
    """The commit and whether files differ from it, as the tags of a run."""
    return {"git_commit": git_commit(root) or "unknown", "git_dirty": str(git_dirty(root)).lower()}


def files_in_commit(root: Path, commit: str, paths: Iterable[str]) -> dict[str, str] | None:
    """The md5 (hex) of each file that a commit has at or below ``paths``, by path.

    Args:
        root: A folder of the repository; paths are relative to it.
        commit: The commit to read.
        paths: Files and folders. Those that the commit does not have are left out of the result.

    Returns:
        None without git or without the commit.
    """
    listed = _bytes(
        root, b"", "ls-tree", "-r", "-z", commit, "--", *(f"./{path}" for path in paths if not path.startswith(("../", "/")))
    )
    if listed is None:
        return None
    entries = [line.partition(b"\t") for line in listed.split(b"\0") if line]
    blobs = [(name.decode(), facts.split()[2]) for facts, _, name in entries if facts.split()[1] == b"blob"]
    contents = _bytes(root, b"".join(blob + b"\n" for _, blob in blobs), "cat-file", "--batch")
    if contents is None:
        return None
    found, rest = {}, memoryview(contents)
    for name, _ in blobs:
        head = bytes(rest[:200]).partition(b"\n")[0]
        start, size = len(head) + 1, int(head.split()[2])
        found[name] = hashlib.md5(rest[start : start + size], usedforsecurity=False).hexdigest()
        rest = rest[start + size + 1 :]
    return found


def _head(root: Path) -> str | None:
    return _text(root, "rev-parse", "--verify", "HEAD")


def _text(root: Path, *arguments: str) -> str | None:
    output = _bytes(root, b"", *arguments)
    return None if output is None else output.decode(errors="replace").strip()


def _bytes(root: Path, given: bytes, *arguments: str) -> bytes | None:
    """What a git command prints; None where it fails or there is no git."""
    command = ["git", *arguments]
    try:
        return subprocess.run(command, cwd=root, input=given, capture_output=True, check=True, timeout=SECONDS).stdout
    except (OSError, subprocess.SubprocessError):
        return None
