"""A git and DVC project with this project's code and toy params, and a function that runs commands in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.data import FEW, TINY
from tests.support.imports import ROOT

COPIED = ("rdmc", "pipeline", "architectures", "dvc.yaml", ".dvcignore", ".gitignore", "pyproject.toml")
TOY_DATASETS = {
    "light": {"source": "embedded", "rain": "light", "variants": 1},
    "heavy": {"source": "embedded", "rain": "heavy", "variants": 0},  # no training pairs
}
WHO = {f"GIT_{role}_{key}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
"""Who commits, on a machine where git does not know its user: an experiment of DVC is a commit."""
ENDING = 3000
"""Characters of a failed command's output that are shown."""


def make_project(
    root: Path,
    changes: Mapping[str, Any] | None = None,
    photos: Collection[str] = FEW,
    datasets: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] = TINY,
) -> Path:
    """Make the project in ``root`` and commit it.

    Args:
        root: the new folder.
        changes: params by dotted name, which replace those of ``base``.
        photos: names of the photographs that are kept. Rain over all of them would take most of a test's time.
        datasets: the datasets in place of ``TOY_DATASETS``.
        base: params by dotted name, which replace those of params.yaml.
    """
    root.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    with (root / "rdmc/datasets/embedded.py").open("a") as code:
        code.write(f"\n\nPHOTOS = tuple(photo for photo in PHOTOS if photo.name in {tuple(photos)})\n")
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["datasets"] = datasets or TOY_DATASETS
    for key, value in {**base, **(changes or {})}.items():
        part, name = key.split(".")
        params[part][name] = value
    yaml.dump(params, root / "params.yaml")
    run(root, "git", "init", "-q")
    run(root, "dvc", "init", "-q")
    run(root, "dvc", "config", "core.analytics", "false")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "toy")
    return root


def run(root: Path, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command with this environment's programs and, of the user's settings, only the bucket; check its exit code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RDMC_", "MLFLOW_", "RAY_"))}
    kept |= {name: value for name, value in os.environ.items() if name == "RDMC_BUCKET"}
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{kept['PATH']}"
    environment = {**WHO, **kept, "PATH": path, "PYTHONPATH": str(root), "RDMC_WORKERS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}: {done.stdout[-ENDING:]}{done.stderr[-ENDING:]}"
    return done
