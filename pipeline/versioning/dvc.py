"""DVC's own command line, and what its dvc.lock records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.config.paths import Paths
from rdmc.errors import DataError, ServiceError, one_line


def run_dvc(root: Path, *arguments: str) -> None:
    """Run one of DVC's commands in ``root``. Raises ServiceError with the first line that it says."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or "no word").splitlines()[0]
        raise ServiceError(f"dvc {' '.join(arguments[:2])}: {said}; run it in a folder made by `dvc init`")


def dvc_add(root: Path, path: Path) -> None:
    """Put ``path`` under DVC in the repository at ``root``. Raises ServiceError with what DVC says."""
    run_dvc(root, "add", str(path))


def recorded_md5(workspace: Paths, dataset: str) -> str:
    """The md5 (``….dir``) that dvc.lock records for a dataset's shards, of the workspace or of the code's own folder."""
    path = Paths().shards(dataset).as_posix()
    for lock in (workspace.root / "dvc.lock", Path("dvc.lock")):
        try:
            recorded = (lock.is_file() and YAML(typ="safe", pure=True).load(lock)) or {}
            stages = recorded.get("stages", {}).values()
            found = {out["path"]: str(out["md5"]) for stage in stages for out in stage.get("outs", ()) if "md5" in out}
        except (OSError, UnicodeDecodeError, YAMLError, LookupError, TypeError, AttributeError) as error:
            why = one_line(error)
            raise DataError(f"{lock}: not what DVC writes ({why}); run `git checkout dvc.lock` or `dvc repro`") from None
        if path in found:
            return found[path]
    raise DataError(f"{path}: neither on disk nor in dvc.lock; run `dvc repro pack` and `dvc push` once where the pairs are")
