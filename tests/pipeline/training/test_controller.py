"""Faults in the workers of a real training on Ray: what is not retried, what is, what the user reads, and waiting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, ActorUnavailableError

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.console import console
from pipeline.training import following
from pipeline.training.controller import interval, is_final, lacking, what_happened
from pipeline.training.ray_train import launch
from pipeline.training.worker import Row
from rdmc.errors import CheckpointError, ConfigError, DataError, MissingError, ServiceError, TrainingError
from tests.pipeline.training.conftest import SETTINGS
from tests.support.dying import damaged, dying_once

pytestmark = pytest.mark.usefixtures("running_ray")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 500)


def test_an_error_that_cannot_heal_ends_the_training_at_its_first_attempt(
    params: Params, paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = tmp_path / "starts"
    with pytest.raises(DataError, match=r"^light-0\.tar: damaged; run `dvc repro pack`$"):
        launch(Project(params, SETTINGS, paths), "damaged", print, validates=True, make=partial(damaged, str(starts)))
    assert 1 <= len(starts.read_text().splitlines()) <= SETTINGS.workers, "no worker starts twice"
    assert "resumes" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_worker_that_dies_is_named_with_the_step_from_which_the_training_resumes(
    params: Params, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Row] = []
    make = partial(dying_once, str(paths.runs.absolute() / "once"))
    causes: list[str] = []
    launch(Project(params, SETTINGS, paths), "once", rows.append, validates=True, make=make, restarted=causes.append)
    assert causes == ["failure"]
    assert [row["step"] for row in rows] == [3, 6]
    ours = [line for line in capsys.readouterr().out.splitlines() if "(raylet)" not in line]
    assert ours == ["worker 1 died (killed, most often because memory ran out); resumes from step 3"]


class Other:
    """Takes CPUs of the cluster, as another job does."""

    def ready(self) -> None:
        """Return once it has them."""


@pytest.fixture
def other() -> Iterator[Any]:
    """An actor with two of the cluster's three CPUs."""
    actor = ray.remote(num_cpus=2)(Other).remote()
    ray.get(actor.ready.remote())
    yield actor
    ray.kill(actor)


@pytest.mark.slow
def test_a_training_says_what_it_waits_for_and_runs_when_it_is_free(
    params: Params, paths: Paths, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        ray.kill(other)

    monkeypatch.setattr(following, "say", hear)
    rows: list[Row] = []
    launch(Project(params, SETTINGS, paths), "waits", rows.append, validates=True)
    assert [row["step"] for row in rows] == [3, 6]
    assert said == ["waiting for 2 CPUs, the cluster has 1 free"]


@pytest.mark.usefixtures("other")
def test_waiting_ends_at_the_limit_with_one_line(params: Params, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SETTINGS.model_copy(update={"wait": 5.0})
    with pytest.raises(TrainingError) as caught:
        launch(Project(params, settings, paths), "never", print, validates=True)
    rule = r"RDMC_WAIT: waited \d+ s for 2 CPUs, the cluster has 1 free; end another job, add nodes, .* or raise RDMC_WAIT"
    assert re.fullmatch(rule, str(caught.value))
    assert capsys.readouterr().out.splitlines() == ["waiting for 2 CPUs, the cluster has 1 free"]


def test_what_is_lacking_is_said_in_numbers() -> None:
    assert lacking({"CPU": 1.0}, 2, {"CPU": 2.0}) == ""
    assert lacking({"CPU": 1.0}, 2, {}) == "2 CPUs, the cluster has 0 free"
    assert lacking({"GPU": 0.5}, 2, {"GPU": 0.5}) == "1 GPU, the cluster has 0.5 free"


def test_the_limit_is_waited_in_equal_intervals_of_a_minute_at_most() -> None:
    assert [interval(limit) for limit in (5, 60, 90, 600)] == [5, 60, 45, 60]


def test_only_a_service_may_come_back() -> None:
    final = [DataError("x"), ConfigError("x"), CheckpointError("x"), TrainingError("x")]
    assert all(is_final(error) for error in final)
    assert not any(is_final(error) for error in (ServiceError("x"), MissingError("x"), RuntimeError("x"), ActorDiedError()))


def test_the_worker_that_died_is_named_and_not_those_that_lost_it() -> None:
    lost = RuntimeError("Connection closed by peer [127.0.0.1]:7")
    assert what_happened({0: lost}) == "worker 0 failed (Connection closed by peer [127.0.0.1]:7)"
    killed = "died (killed, most often because memory ran out)"
    assert what_happened({0: lost, 1: ActorDiedError()}) == f"worker 1 {killed}"
    assert what_happened({1: ActorDiedError(), 3: ActorDiedError(), 2: lost}) == f"workers 1, 3 {killed}"
    context = ActorDiedErrorContext(error_message="The actor died because its node has died.", actor_id=bytes(16))
    gone = ActorDiedError(context)
    assert what_happened({2: gone}) == "worker 2 died (its node was lost)"
    silent = ActorUnavailableError("RpcError: Connection reset by peer", bytes(16))
    assert what_happened({0: silent, 1: lost}) == "worker 0 died (it no longer answers)"
