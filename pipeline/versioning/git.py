"""DVC as an act calls it: with this interpreter's programs, in a folder, seen by whoever waits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rdmc.errors import ServiceError

OURS = ("RDMC_DATA", "MLFLOW_TRACKING_URI")
"""What another folder must not take over from this environment: its files and its MLflow store are its own."""


def dvc(root: Path, *arguments: str, own: bool = True) -> None:
    """Run DVC in ``root``; its output is shown.

    Args:
        root: a DVC project; its own code is what its stages run.
        arguments: of DVC.
        own: whether ``root`` is the project of this process, so that its settings hold there too.

    Raises:
        ServiceError: it fails; what DVC said stands above.
    """
    kept = {name: value for name, value in os.environ.items() if own or name not in OURS}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    environment = {**kept, "PATH": path, "PYTHONPATH": str(root.absolute())}
    code = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, env=environment, check=False).returncode
    if code:
        raise ServiceError(
            f"{root.absolute()}: `dvc {' '.join(arguments)}` failed with exit code {code}; see what it says above"
        )


def git(root: Path, *arguments: str) -> str:
    """What a git command prints. Raises ServiceError with git's last line."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except OSError as error:
        raise ServiceError(f"git: {error}; install it") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise ServiceError(f"`git {' '.join(arguments[:2])}` in {root.absolute()}: {said}") from None
    return done.stdout.strip()
