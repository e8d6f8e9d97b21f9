"""A git and DVC project with this project's code and toy params, and a function that runs commands in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.data import FEW, TINY
from tests.support.imports import ROOT

COPIED = ("rdmc", "pipeline", "architectures", "dvc.yaml", ".dvcignore", ".gitignore", "pyproject.toml")
ENDING = 3000
"""Characters of a failed command's output that are shown."""


def make_project(root: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Make the project in ``root``, with ``changes`` to the toy params and few photographs, and commit it."""
    root.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["datasets"] = {
        "light": {"source": "embedded", "rain": "light", "variants": 1},
        "heavy": {"source": "embedded", "rain": "heavy", "variants": 0},  # no training pairs
    }
    with (root / "rdmc/datasets/embedded.py").open("a") as code:  # rain over all photographs would take most of a test's time
        code.write(f"\n\nPHOTOS = tuple(photo for photo in PHOTOS if photo.name in {FEW})\n")
    for key, value in {**TINY, **(changes or {})}.items():
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
    environment = {**kept, "PATH": path, "PYTHONPATH": str(root), "RDMC_WORKERS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}: {done.stdout[-ENDING:]}{done.stderr[-ENDING:]}"
    return done
