"""``kill -9`` of a trial's process, the driver or a raylet at random moments, and of a node: every sweep ends complete."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from mlflow import MlflowClient

from pipeline.config.paths import Paths
from tests.support.data import ready_to_train
from tests.support.imports import ROOT
from tests.support.processes import descendants, kill_all, named
from tests.support.ray_head import ray_head, ray_node

TRIALS = 4
CHANGES = {
    "tune.trials": TRIALS,
    "tune.concurrent": 2,
    "tune.steps": 12,
    "tune.grace_steps": 4,
    "train.validate_every": 2,
    "tune.space": {"train.lr": {"loguniform": [1e-4, 1e-2]}},
}
WORKER = "ray::ImplicitFunc"
"""How the title of a trial's process begins."""
PATIENCE = 600
"""Seconds that a sweep may take to reach a point, or its end."""
FINAL = {"finished", "stopped early"}


def start(folder: Path, store: str, *options: str) -> subprocess.Popen[bytes]:
    """Start the command in a separate process."""
    environment = {**os.environ, "RDMC_DATA": str(folder), "RDMC_GPU": "false", "MLFLOW_TRACKING_URI": store}
    command = [sys.executable, "-m", "pipeline", "tune", "--params", str(folder / "params.yaml"), *options]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def validations(folder: Path) -> int:
    """The number of validations in the ledger."""
    ledgers = list((folder / "runs").glob("tune-*/ledger.json"))
    return sum(len(entry["rows"]) for path in ledgers for entry in json.loads(path.read_text())["trials"])


def await_moment(driver: subprocess.Popen[bytes], folder: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while validations(folder) < count:
        assert driver.poll() is None, f"ended before the kill: {(folder / 'log').read_text()}"
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)


def victims(driver: subprocess.Popen[bytes], kind: str) -> list[psutil.Process]:
    """Processes of the Ray that this driver started; at least one."""
    if kind == "driver":
        return [psutil.Process(driver.pid)]
    wanted = named("raylet") if kind == "raylet" else lambda one: " ".join(one.cmdline()).startswith(WORKER)
    found = descendants(driver.pid, wanted)
    assert found, f"no {kind} among the driver's processes"
    return found


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A folder with pairs to train on and params.yaml."""
    return ready_to_train(tmp_path, CHANGES)


def require_complete(paths: Paths, store: str) -> None:
    """Check that the table has every trial, and that each trial has one MLflow run with the right status."""
    rows = list(csv.DictReader(paths.trials.open()))
    assert [row["trial"] for row in rows] == [str(number) for number in range(TRIALS)]
    assert {row["state"] for row in rows} <= FINAL
    client = MlflowClient(store)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) == TRIALS + 1
    assert sorted(run.data.tags["trial"] for run in children) == [row["trial"] for row in rows]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in children:
        steps = [figure.step for figure in client.get_metric_history(run.info.run_id, "validation/psnr_y")]
        assert len(steps) == len(set(steps))
    assert list(paths.runs.iterdir()) == []


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("seed", range(10))
def test_a_sweep_survives_a_kill(paths: Paths, store: str, seed: int) -> None:
    rng, kind = np.random.default_rng(seed), ("worker", "driver", "raylet")[seed % 3]
    log = paths.root / "log"
    driver = start(paths.root, store)
    try:
        await_moment(driver, paths.root, int(rng.integers(1, 8)))
        time.sleep(float(rng.uniform(0, 0.2)))
        chosen = victims(driver, kind)
        kill_all([chosen[int(rng.integers(len(chosen)))]])
        code = driver.wait(PATIENCE)
    finally:
        driver.kill()
    assert (code == 0) == (kind == "worker"), log.read_text()
    if code:  # the driver died, or lost its Ray
        again = start(paths.root, store, "--resume")
        try:
            assert again.wait(PATIENCE) == 0, log.read_text()
        finally:
            again.kill()
    require_complete(paths, store)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_a_sweep_survives_the_loss_of_a_node(paths: Paths, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ray_head(cpus=1) as head, ray_node(head, cpus=1) as node:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.setenv(name, head.environment[name])
        monkeypatch.setenv("RDMC_RAY_ADDRESS", head.address)
        driver = start(paths.root, store)
        try:
            await_moment(driver, paths.root, 3)  # at least one on each of the two nodes
            lost = descendants(node.pid, named("raylet"))
            assert len(lost) == 1
            kill_all(lost)
            assert driver.wait(PATIENCE) == 0, (paths.root / "log").read_text()
        finally:
            driver.kill()
    require_complete(paths, store)
