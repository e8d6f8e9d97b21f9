"""A number of workers that varies: it divides the batch, it falls with a node that is lost, and grows with one that comes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from mlflow import MlflowClient
from ray.train.v2._internal.execution.controller.state import RunningState, SchedulingState
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision
from ray.train.v2.api.config import ScalingConfig

from pipeline.training import elastic
from pipeline.training.controller import SETTLING
from pipeline.training.elastic import Divisors, divisor
from tests.support.data import ready_to_train
from tests.support.imports import ROOT
from tests.support.processes import descendants, kill_all
from tests.support.ray_head import ray_head, ray_node
from tests.support.waiting import PATIENCE, until


@pytest.mark.parametrize(
    ("batch", "most", "expected"), [(16, 16, 16), (16, 15, 8), (16, 3, 2), (12, 5, 4), (7, 6, 1), (4, 100, 4), (16, 0, 0)]
)
def test_the_number_of_workers_divides_the_batch(batch: int, most: int, expected: int) -> None:
    assert divisor(batch, most) == expected


@pytest.fixture
def rule(monkeypatch: pytest.MonkeyPatch) -> tuple[Divisors, dict[str, float]]:
    """A rule for 2 to 8 workers, and the CPUs that the cluster has and that are free, which a test sets."""
    made, cpus = Divisors(ScalingConfig(num_workers=(2, 8)), 16), {"has": 0.0, "free": 0.0}
    monkeypatch.setattr(made, "_maybe_send_resource_request", lambda: None)
    monkeypatch.setattr(made, "_get_reserved_resources", lambda: {"node": {"CPU": cpus["has"]}})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": cpus["free"]})
    return made, cpus


def started(rule: Divisors) -> int:
    """The number of workers that the rule starts; 0 if it waits."""
    decision = rule.make_decision_for_non_running_worker_group()
    return decision.num_workers if isinstance(decision, ResizeDecision) else 0


def test_fewer_than_the_fewest_are_asked_for_after_a_while(
    rule: tuple[Divisors, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the start of workers says what is missing, which Ray's own rule would not."""
    policy, cpus = rule
    assert started(policy) == 0, "the cluster may not have answered yet"
    monkeypatch.setattr(elastic, "SETTLING", -1.0)
    assert started(policy) == 2
    cpus.update({"has": 7.0, "free": 7.0})
    assert started(policy) == 4
    assert policy.since is None


def test_what_others_use_is_no_room(rule: tuple[Divisors, dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    policy, cpus = rule
    cpus.update({"has": 8.0, "free": 5.0})
    assert started(policy) == 0, "workers that have just died may still count as there"
    monkeypatch.setattr(elastic, "SETTLING", -1.0)
    assert started(policy) == 4
    cpus["free"] = 1.0
    assert started(policy) == 2, "the fewest, whose start says what it waits for"


def test_workers_that_die_after_a_start_with_less_room_are_waited_for_again(rule: tuple[Divisors, dict[str, float]]) -> None:
    policy, cpus = rule
    cpus.update({"has": 8.0, "free": 5.0})
    policy.since = time.monotonic() - 2 * SETTLING
    assert started(policy) == 4
    assert started(policy) == 4, "a start that failed is tried again at once"
    policy.after_controller_state_update(SchedulingState(cast("Any", None)), RunningState())
    cpus["free"] = 1.0
    assert started(policy) == 0, "what the dead workers had may still count as taken"


@pytest.mark.parametrize(("has", "free", "expected"), [(4, 0.0, 4), (4, 3.0, 4), (4, 4.0, 8), (2, 2.0, 4)])
def test_a_running_training_grows_by_what_is_free(
    has: int, free: float, expected: int, rule: tuple[Divisors, dict[str, float]]
) -> None:
    policy, cpus = rule
    cpus.update({"has": 8.0, "free": free})
    state = SimpleNamespace(num_workers=has, start_time=-1000.0)
    decision = policy.make_decision_for_running_worker_group(cast("Any", state), cast("Any", None))
    assert (decision.num_workers if isinstance(decision, ResizeDecision) else has) == expected


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(6 * PATIENCE)
def test_a_training_takes_the_workers_that_there_are(store: str, tmp_path: Path) -> None:
    ready_to_train(tmp_path, {"train.steps": 4500, "train.validate_every": 500})
    log = tmp_path / "log"
    with ray_head(cpus=1) as head:
        variables = {"RDMC_DATA": str(tmp_path), "RDMC_GPU": "false", "RDMC_WORKERS": "2", "RDMC_MIN_WORKERS": "1"}
        environment = {**head.environment, **variables, "RDMC_RAY_ADDRESS": head.address, "MLFLOW_TRACKING_URI": store}
        command = [sys.executable, "-m", "pipeline", "train", "--params", str(tmp_path / "params.yaml")]
        with log.open("wb") as output:
            driver = subprocess.Popen(command, cwd=ROOT, env={**environment, "COLUMNS": "300"}, stdout=output, stderr=output)

        def said(text: str) -> bool:
            return text in log.read_text() or driver.poll() is not None

        try:
            until(lambda: said("step 500/"))
            with ray_node(head, cpus=1) as node:
                until(lambda: said("2 workers train now"))
                until(lambda: re.search(r"step \d+/", log.read_text().rpartition("2 workers train now")[2]))
                kill_all(descendants(node.pid))
                assert driver.wait(4 * PATIENCE) == 0, log.read_text()
        finally:
            driver.kill()
    text = log.read_text()
    assert "on 1 to 2 workers" in text
    assert re.findall(r"^(\d) workers? trains? now$", text, re.MULTILINE) == ["1", "2", "1"], text
    (run,) = MlflowClient(store).search_runs([e.experiment_id for e in MlflowClient(store).search_experiments()])
    assert run.info.status == "FINISHED"
    steps = [point.step for point in MlflowClient(store).get_metric_history(run.info.run_id, "validation/psnr_y")]
    assert sorted(steps) == list(range(500, 4501, 500))
