"""A node is taken away during a training, as a spot node is: a checkpoint is saved before, and no step is lost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.data import ready_to_train
from tests.support.imports import ROOT
from tests.support.ray_head import ray_head, ray_node
from tests.support.waiting import PATIENCE, until

TRAIN = """
import sys
from functools import partial
from pathlib import Path
from pipeline.cluster import cluster
from pipeline.config.params import read_params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.training.ray_train import launch
from tests.support.dying import leaving
settings = Settings()
project = Project(read_params(Path("params.yaml")), settings, Paths(Path.cwd()))
follow = lambda row: print("report", int(row["step"]), flush=True)
again = lambda cause: print("restarted by", cause, flush=True)
with cluster(settings):
    result = launch(project, "leaves", follow, validates=True, make=partial(leaving, sys.argv[1]), restarted=again)
print("ended at", int(result.final["step"]))
"""
"""A driver: it trains on the cluster of its environment."""

DRAIN = """
import time, ray
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION
ray.init("{address}", logging_level="ERROR")
leaves = next(node for node in ray.nodes() if node["Alive"] and "node:__internal_head__" not in node["Resources"])
deadline = int((time.time() + 10) * 1000)
print(ray._raylet.GcsClient(address="{address}").drain_node(leaves["NodeID"], DRAIN_NODE_REASON_PREEMPTION, "spot", deadline))
"""
"""What `ray drain-node` does, which infra/kubernetes calls in a pod that is to be deleted; for a node of one's choice."""


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE)
def test_a_node_that_leaves_costs_no_step_since_the_last_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the nodes too: they import the training of tests/support
    ready_to_train(tmp_path, {"train.steps": 60, "train.validate_every": 60})
    place, log = tmp_path / "place", tmp_path / "log"
    place.mkdir()
    with ray_head(cpus=1) as head, ray_node(head, cpus=1):
        environment = {
            **head.environment,
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "RDMC_RAY_ADDRESS": head.address,
            "RDMC_WORKERS": "2",
            "RDMC_GPU": "false",
            "RDMC_AUTOSCALING": "true",  # the second node comes while the training starts
            "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
            "COLUMNS": "300",
        }
        with log.open("wb") as output:
            driver = subprocess.Popen(
                [sys.executable, "-c", TRAIN, str(place)], cwd=tmp_path, env=environment, stdout=output, stderr=output
            )
        try:
            until(lambda: (place / "waits").exists() or driver.poll() is not None)
            assert driver.poll() is None, log.read_text()
            drain = [sys.executable, "-c", DRAIN.format(address=head.address)]
            done = subprocess.run(drain, env=environment, capture_output=True, text=True, check=False)
            assert "(True," in done.stdout, done.stdout + done.stderr
            with ray_node(head, cpus=1):  # the node that takes its place
                driver.wait(2 * PATIENCE)
        finally:
            driver.kill()
    text = log.read_text()
    ours = re.findall(r"^(?:report \d+|restarted by \w+|ended at \d+|the node .*)$", text, re.MULTILINE)
    leaves = [line for line in ours if "leaves the cluster; a checkpoint is saved" in line]
    assert len(leaves) == 1, text
    assert [line for line in ours if line.startswith("restarted")] == ["restarted by preemption"], text
    reports = [line for line in ours if line.startswith("report")]
    assert reports == ["report 20", "report 40", "report 60"], "it resumed from the checkpoint that was not due"
    assert ours[-1] == "ended at 60"
