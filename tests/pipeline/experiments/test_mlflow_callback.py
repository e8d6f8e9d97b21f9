"""The runs of trials in a real SQLite store, written as Ray Tune calls the callback."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.config.params import Params
from pipeline.config.recipe import trial_params
from pipeline.config.settings import Settings
from pipeline.experiments.mlflow_callback import TrialRuns, failure
from pipeline.tracking.tracker import Tracker
from rdmc.errors import ConfigError
from tests.support.data import tiny_params
from tests.support.mlflow_server import mlflow_server
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE, until

SETTINGS = Settings(workers=1, gpu=False)


def choose(params: Params, config: dict[str, Any]) -> Params:
    return trial_params(params, 4, config["chosen"])


def trial_of(name: str, last: dict[str, Any] | None = None, **chosen: Any) -> SimpleNamespace:
    """A trial as the callback sees it."""
    config = {"trial": name, "chosen": {key.replace("__", "."): value for key, value in chosen.items()}}
    return SimpleNamespace(config=config, last_result=last or {})


def record(store: str, events: Callable[[TrialRuns], None]) -> dict[str, Run]:
    """Call the callback and return the runs by name."""
    with (
        Tracker.start(SETTINGS, "parent", {}, {"stage": "tune"}) as parent,
        TrialRuns(choose, tiny_params(), SETTINGS, parent.run_id) as runs,
    ):
        events(runs)
    client = MlflowClient(store)
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return {str(run.info.run_name): run for run in found}


def test_each_trial_is_one_run_under_the_parent(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    def events(runs: TrialRuns) -> None:
        good, bad = trial_of("0", train__lr=0.002), trial_of("1", {"failure": "loss nan"}, train__lr=0.1)
        for trial in (good, bad):
            runs.on_trial_start(0, [], trial)
        runs.on_trial_start(0, [], good)  # a restart
        for step in (2, 4):
            runs.on_trial_result(0, [], good, {"step": step, "psnr_y": 20.0 + step, "loss": 1 / step, "other": 1})
        runs.on_trial_result(0, [], good, {"step": 4, "psnr_y": 24.0, "loss": 0.3})  # as a restarted trial repeats it
        runs.on_trial_result(0, [], good, {"step": 5, "loss": 0.1})
        runs.on_trial_complete(0, [], good)
        runs.on_trial_complete(0, [], bad)

    found = record(store, events)
    assert {name: run.info.status for name, run in found.items()} == {
        "parent": "FINISHED",
        "trial-0": "FINISHED",
        "trial-1": "FAILED",
    }
    good = found["trial-0"]
    assert good.data.tags["mlflow.parentRunId"] == found["parent"].info.run_id
    assert good.data.tags["stage"] == "trial"
    assert (good.data.params["train.lr"], good.data.params["train.steps"]) == ("0.002", "4")
    assert good.data.metrics == {"validation/psnr_y": 24.0, "loss/total": 0.25}
    history = MlflowClient(store).get_metric_history(good.info.run_id, "validation/psnr_y")
    assert [(figure.step, figure.value) for figure in history] == [(2, 22.0), (4, 24.0)]
    shown = capsys.readouterr().out
    assert "trial-0  step 4  PSNR-Y 24.00 dB" in shown
    assert "step 5" not in shown, "a report without a score is not shown"


def test_a_trial_whose_process_fails_is_failed_and_an_interrupted_one_killed(store: str) -> None:
    def events(runs: TrialRuns) -> None:
        for trial in (trial_of("0"), trial_of("1")):
            runs.on_trial_start(0, [], trial)
        runs.on_trial_error(0, [], trial_of("0"))

    statuses = {name: run.info.status for name, run in record(store, events).items()}
    assert (statuses["trial-0"], statuses["trial-1"]) == ("FAILED", "KILLED")


def test_params_that_cannot_be_used_show_the_chosen_values(store: str) -> None:
    bad = trial_of("0", train__lr=-1.0)
    with pytest.raises(ConfigError):
        choose(tiny_params(), bad.config)
    found = record(store, lambda runs: runs.on_trial_start(0, [], bad))
    assert found["trial-0"].data.params == {"train.lr": "-1.0"}


def test_an_error_in_the_writing_thread_is_raised_at_the_end(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(TrialRuns, "tracker", fails)
    with pytest.raises(OSError, match="no space left"):
        record(store, lambda runs: runs.on_trial_start(0, [], trial_of("0")))


def test_the_last_result_has_the_cause_of_failure() -> None:
    assert failure({"failure": "loss nan", "step": 2}) == "loss nan"
    assert failure({"step": 2}) == failure(None) == ""


@pytest.mark.slow
def test_a_run_that_could_not_be_ended_is_ended_at_the_end(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    settings = Settings(workers=1, gpu=False, mlflow_timeout=PATIENCE)  # a server on a busy machine may take seconds
    with ExitStack() as servers, TrialRuns(choose, tiny_params(), settings, None) as runs:
        with mlflow_server(store, tmp_path, port):
            runs.on_trial_start(0, [], trial_of("0"))
            runs.on_trial_result(0, [], trial_of("0"), {"step": 2, "psnr_y": 22.0})
            until(lambda: "0" in runs.trackers and runs.trackers["0"].sent)
        runs.on_trial_result(0, [], trial_of("0"), {"step": 4, "psnr_y": 24.0})
        runs.on_trial_complete(0, [], trial_of("0"))
        until(lambda: runs.closed)
        assert not runs.trackers["0"].sent
        servers.enter_context(mlflow_server(store, tmp_path, port))
    client = MlflowClient(store)
    run = client.get_run(str(runs.trackers["0"].run_id))
    assert run.info.status == "FINISHED"
    assert [one.step for one in client.get_metric_history(run.info.run_id, "validation/psnr_y")] == [2, 4]
