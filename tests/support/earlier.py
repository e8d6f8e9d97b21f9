"""A project with a version that earlier code registered (tests/fixtures), unpacked and given today's code."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from pipeline.tracking.relocation import relocate
from tests.support.imports import ROOT
from tests.support.project import COPIED, run

FIXTURE = ROOT / "tests/fixtures/registered-e690b72.tar.xz"


def unpack_earlier(folder: Path) -> Path:
    """The project in ``folder``, as it was left, with the code of today committed on top; its shards come from DVC's cache."""
    with tarfile.open(FIXTURE) as packed:
        packed.extractall(folder, filter="data")
    root = folder / "project"
    assert "moved from" in relocate(root / "mlflow.db"), "as the first command after the move does"
    for name in COPIED:
        place = root / name
        if place.is_dir():
            shutil.rmtree(place)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    run(root, "git", "add", "--all")
    run(root, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "the code of today")
    run(root, "dvc", "checkout", "--quiet", "--allow-missing")
    return root
