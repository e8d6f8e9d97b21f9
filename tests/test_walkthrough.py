"""The stack as docs/cluster.md shows it: its lines, as they are written, in one shell, from ``make up`` to ``make down``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.stack.commands import NAMES
from pipeline.stack.postgres import programs_for
from rdmc.errors import ConfigError
from tests.support.data import FEW
from tests.support.imports import ROOT
from tests.support.project import make_project, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
HEADING = "## The whole stack on one machine, without containers"
INSTALL = "sudo apt-get install postgresql"
SECONDS = 1500
RUNS = """
import mlflow
for run in mlflow.search_runs(search_all_experiments=True, output_format="list"):
    print("RUN", run.info.status, run.data.tags.get("stage"), run.data.metrics["validation/psnr_y"] > 0)
"""


def shown_lines() -> list[str]:
    """The commands of the page's block, without their comments and without the installation of PostgreSQL."""
    block = (ROOT / "docs/cluster.md").read_text().partition(HEADING)[2].split("```")[1]
    lines = [line.partition(" #")[0].strip() for line in block.strip().splitlines()]
    assert lines.pop(0) == INSTALL
    return lines


@pytest.fixture
def project() -> Iterator[Path]:
    """A toy project whose data are made, in a folder that the user ``postgres`` may enter, with this environment as .venv."""
    if not (Path(sys.prefix) / ".done").is_file():
        pytest.skip("this environment was not made by `make setup`, and make would change it")
    with tempfile.TemporaryDirectory(prefix="walk-") as name:
        Path(name).chmod(0o755)
        try:
            programs_for(Path(name))
        except ConfigError as error:
            pytest.skip(str(error))
        folder = make_project(Path(name) / "project", {"train.steps": 6, "train.validate_every": 3}, FEW)
        for file in ("Makefile", "constraints.txt"):
            shutil.copy2(ROOT / file, folder / file)
        for file in ("pyproject.toml", "constraints.txt"):
            os.utime(folder / file, (0, 0))  # older than .venv/.done, so make has nothing to set up
        (folder / ".venv").symlink_to(sys.prefix)
        run(folder, "dvc", "repro", "pack")
        try:
            yield folder
        finally:
            run(folder, "python", "-m", "pipeline", "stack", "down", "--delete")


def test_the_walk_through_works_as_written(project: Path) -> None:
    lines = shown_lines()
    assert (lines[0], lines[-1]) == ("make up", "make down")
    script = "\n".join(["set -ex", *lines[:-1], f"python -c '{RUNS}'", lines[-1], "make status || true"])
    environment = {
        "HOME": str(project.parent),
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=project, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    print(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown, _, after = done.stdout.partition("RUN ")
    assert shown.count("running") >= 2 * len(NAMES), "`make up` and `make status` show each service"
    assert after.startswith("FINISHED train True"), "MLflow of the stack has the training"
    assert "RUN " not in after, "and it alone"
    assert "on 2 workers" in shown
    assert after.count("stopped") >= len(NAMES), "nothing runs after `make down`"
