"""What code and data a result comes from: git's commit and DVC's digests. A run works without them."""

from __future__ import annotations

from pathlib import Path

import rdmc
from pipeline.config.settings import Settings
from pipeline.versioning.dvc import declared_code, locked_outs
from pipeline.versioning.git import git_commit, git_dirty
from rdmc.files import files_digest

CODE = Path(rdmc.__file__).parents[1]
"""The folder that holds ``rdmc``, ``pipeline`` and dvc.yaml."""


def lineage(root: Path = Path()) -> dict[str, str]:
    """``git_commit``, ``git_dirty`` and ``dvc.<out>`` (md5) of a project; what is unknown is left out."""
    commit, dirty = git_commit(root), git_dirty(root)
    known = {"git_commit": commit, "git_dirty": None if dirty is None else str(dirty).lower()}
    return {
        **{name: value for name, value in known.items() if value is not None},
        **{f"dvc.{path}": md5 for path, md5 in locked_outs(root).items()},
    }


def job_lineage(settings: Settings) -> dict[str, dict[str, str]]:
    """Where the code of this job came from, as ``run.json`` keeps it under ``job``; empty outside of a submitted job."""
    if not settings.git_commit or (git_commit() or "") != settings.git_commit:
        return {}
    return {"job": {"commit": settings.git_commit, "code": settings.git_code or "unknown"}}


def code_digest(root: Path = CODE, stage: str = "train") -> str:
    """SHA-256 (hex) of the code of a stage. With that of ``train``, a training never resumes from weights of other code.

    It is the code that dvc.yaml declares as deps of the stage. Raises ConfigError where ``root`` has no such dvc.yaml.
    """
    return files_digest(root, declared_code(root, stage))
