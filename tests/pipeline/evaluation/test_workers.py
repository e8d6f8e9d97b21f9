"""Images on Ray's workers: the same figures as in one process, an error of a worker in one line, and a killed driver."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.evaluation.evaluator import open_tests
from pipeline.evaluation.resumed import FEW
from pipeline.evaluation.workers import over_workers
from pipeline.stages import evaluate
from rdmc.checkpoint import load_model
from rdmc.errors import DataError
from tests.support.data import write_tiny_params
from tests.support.imports import ROOT

pytestmark = pytest.mark.slow
COUNT = 4 * FEW
KILLED = f"""
import os, runpy, signal
from rdmc.data.journal import PieceJournal

add, done = PieceJournal.add, []

def add_and_die(self, index, result):
    add(self, index, result)
    done.append(index)
    if len(done) == {FEW}:
        os.kill(os.getpid(), signal.SIGKILL)

PieceJournal.add = add_and_die
runpy.run_module("pipeline", run_name="__main__")
"""
"""The command line, which is killed right after its sixteenth image is in the journal."""


@pytest.fixture
def project(tmp_path: Path, params: Params, make_workspace: Callable[..., Paths]) -> Project[Params]:
    return Project(params, Settings(gpu=False, workers=1), make_workspace(tmp_path, tests=(COUNT, 3)))


def figures(project: Project[Params]) -> dict[str, object]:
    evaluate.run(project)
    return dict(json.loads(project.paths.evaluate_metrics.read_text()))


def test_two_workers_give_the_figures_of_one(project: Project[Params], one_thread: None) -> None:
    alone = figures(project)
    rows = project.paths.images.read_text().splitlines()
    together = figures(replace(project, settings=Settings(gpu=False, workers=2)))
    assert json.loads(json.dumps(together), parse_float=float) == close_to(alone)
    for one, two in zip(rows, project.paths.images.read_text().splitlines(), strict=True):
        assert one.rpartition(",")[0] == two.rpartition(",")[0], "every row, to the sixth digit, in the same order"


def close_to(found: dict[str, object]) -> dict[str, object]:
    """The figures, to be compared to 1e-6."""
    return {
        name: close_to(value) if isinstance(value, dict) else pytest.approx(value, abs=1e-6) for name, value in found.items()
    }


def test_an_error_of_a_worker_is_that_of_the_library(project: Project[Params]) -> None:
    images = [("light", at) for at in range(COUNT)]
    network = load_model(project.paths.best)[0]
    assert len(open_tests(project)["light"]) == COUNT
    for shard in project.paths.shards("light").glob("*test*.tar"):
        data = bytearray(shard.read_bytes())
        data[600:-600] = bytes(len(data) - 1200)
        shard.write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(over_workers(replace(project, settings=Settings(gpu=False, workers=2)), network, images))
    assert "\n" not in str(caught.value)


def test_a_killed_evaluation_resumes_over_workers_too(project: Project[Params]) -> None:
    """The whole command is killed by SIGKILL when it has finished some images, and run again with two workers."""
    expected = figures(project)
    shutil.rmtree(project.paths.pictures)
    root, params = project.paths.root, project.paths.root / "params.yaml"
    write_tiny_params(params, {"evaluate.pictures": 0})
    arguments = ["evaluate", "--params", str(params)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RDMC_DATA": str(root), "RDMC_WORKERS": "1", "RDMC_GPU": "false"}
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=root, env=environment, check=False)
    assert (killed.returncode, _finished(project.paths)) == (-signal.SIGKILL, FEW)
    environment["RDMC_WORKERS"] = "2"
    command = [sys.executable, "-m", "pipeline", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert f"{FEW} of {COUNT + 3} images were finished" in done.stdout
    found = json.loads(project.paths.evaluate_metrics.read_text())
    assert {name: found[name] for name in expected} == close_to(expected)
    assert _finished(project.paths) == 0


def _finished(paths: Paths) -> int:
    if not paths.journals.is_dir():
        return 0
    return sum(path.read_bytes().count(b"\n") for path in paths.journals.glob("*.jsonl"))
