"""Real sweeps on a local Ray: resumed after a kill of the driver, refused before they start, and their results."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.experiments import tune
from pipeline.experiments.sweep.ledger import Ledger, SweepTrial, stopped
from pipeline.experiments.sweep.ray_tune import SweepController
from pipeline.storage.runs import RunFiles
from pipeline.tracking.tracker import Tracker
from rdmc.errors import ConfigError, DataError, ServiceError, TrainingError
from rdmc.files import write_text
from tests.support.data import HEAVY, make_dataset, tiny_params, toy_project
from tests.support.sweep import SPACE

SETTINGS = Settings(workers=1, gpu=False)
CONTRARY: dict[str, Any] = {
    "loss.prior": {"choice": ["ratio", "infonce"]},
    "loss.levels": {"choice": [1], "when": {"loss.prior": "ratio"}},
    "loss.projection": {"choice": [16], "when": {"loss.prior": "infonce"}},
    "loss.patches": {"choice": [16], "when": {"loss.levels": 1, "loss.projection": 16}},
}
SWEEP = {
    "datasets": HEAVY,
    "tune.trials": 3,
    "tune.concurrent": 1,
    "tune.steps": 4,
    "tune.grace_steps": 2,
    "train.validate_every": 2,
    "tune.space": SPACE,
}
FINAL = {"finished", "stopped early"}


class Killed(BaseException):
    """Represents a kill of the driver: everything that is not written yet is lost."""


def runs_of(store: str) -> tuple[list[Run], list[Run]]:
    """Parent and child runs."""
    client = MlflowClient(store)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def require_no_step_twice(store: str, run: Run) -> None:
    """Check the whole history of a run's own metrics."""
    for metric in run.data.metrics:
        if not metric.startswith("system/"):
            steps = [figure.step for figure in MlflowClient(store).get_metric_history(run.info.run_id, metric)]
            assert len(steps) == len(set(steps)), f"{metric}: {steps}"


@pytest.mark.slow
def test_a_killed_sweep_resumes_and_each_trial_is_one_run(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, params = Paths(tmp_path), tiny_params(SWEEP)
    make_dataset(paths, "heavy")
    with monkeypatch.context() as patch:
        report: Callable[..., bool] = SweepController.report

        def dies(self: SweepController, number: int, result: dict[str, Any]) -> bool:
            stays = report(self, number, result)
            if number == 1:
                raise Killed
            return stays

        patch.setattr(SweepController, "report", dies)
        with pytest.raises(Killed):
            tune.run(Project(params, SETTINGS, paths))
    begun = stopped(toy_project(SETTINGS, paths))
    assert [trial.number for trial in begun.trials if trial.rows] == [0, 1]
    tune.run(Project(params, SETTINGS, paths), resume=True)

    found = list(csv.DictReader(paths.trials.open()))
    assert [row["trial"] for row in found] == ["0", "1", "2"]
    assert {row["state"] for row in found} <= FINAL
    assert [row["train.lr"] for row in found[:2]] == [str(trial.chosen["train.lr"]) for trial in begun.trials[:2]]
    assert all((row["loss.temperature"] != "") == (row["loss.prior"] == "infonce") for row in found)
    best = max(found, key=lambda row: float(row["psnr_y"]))
    chosen = YAML(typ="safe", pure=True).load(paths.best_params)
    assert chosen["train"]["lr"] == pytest.approx(float(best["train.lr"]))

    (parent,), children = runs_of(store)
    assert len(children) == 3
    for run in children:
        require_no_step_twice(store, run)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert {run.data.tags["trial"]: run.data.metrics["validation/psnr_y"] for run in children} == pytest.approx(
        {row["trial"]: float(row["psnr_y"]) for row in found}
    )
    assert parent.data.metrics["validation/best_psnr_y"] == pytest.approx(float(best["psnr_y"]))
    named = {item.path for item in MlflowClient(store).list_artifacts(parent.info.run_id)}
    assert {"trials.csv", "best_params.yaml", "parallel_coordinates.png", "history.png"} <= named
    assert list(paths.runs.iterdir()) == []


@pytest.mark.slow
def test_a_storage_error_is_one_line_and_the_sweep_resumes_later(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, params = Paths(tmp_path), tiny_params({**SWEEP, "tune.trials": 1})
    make_dataset(paths, "heavy")
    with monkeypatch.context() as patch:
        save = Ledger.save

        def full(self: Ledger) -> None:
            if any(trial.rows for trial in self.trials):
                raise ServiceError("no space left; see that there is room")
            save(self)

        patch.setattr(Ledger, "save", full)
        with pytest.raises(ServiceError, match="no space left"):
            tune.run(Project(params, SETTINGS, paths))
    tune.run(Project(params, SETTINGS, paths), resume=True)
    parents, children = runs_of(store)
    assert [run.info.status for run in (*parents, *children)] == ["FINISHED", "FINISHED"]
    require_no_step_twice(store, children[0])


def test_a_sweep_whose_trials_all_fail_leaves_nothing_to_resume(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path)
    make_dataset(paths, "heavy")
    write_text(paths.best_params, "of an earlier sweep")
    monkeypatch.setattr(tune, "run_trials", lambda *_: None)  # no trial starts: the bounds were reached
    with pytest.raises(TrainingError, match=r"none of 0 trials has a psnr_y; trials.csv has"):
        tune.run(Project(tiny_params(SWEEP), SETTINGS, paths))
    assert not paths.best_params.exists()
    assert list(paths.runs.iterdir()) == []
    (parent,), _ = runs_of(store)
    assert parent.info.status == "FAILED"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_population_and_trials_with_several_workers(tmp_path: Path, store: str, workers: int) -> None:
    """With one worker per trial: population based training. With two: each trial is a launch of Ray Train."""
    section = {"tune.algorithm": "pbt", "tune.steps": 6, "tune.pbt.every": 2, "tune.pbt.quantile": 0.5, "tune.concurrent": 2}
    changes = {**SWEEP, **(section if workers == 1 else {}), "tune.space": {"train.lr": SPACE["train.lr"]}}
    paths = Paths(tmp_path)
    make_dataset(paths, "heavy")
    tune.run(Project(tiny_params(changes), Settings(workers=workers, gpu=False), paths))
    found = list(csv.DictReader(paths.trials.open()))
    assert [row["trial"] for row in found] == ["0", "1", "2"]
    (parent,), children = runs_of(store)
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert sorted(run.data.tags["trial"] for run in children) == ["0", "1", "2"]
    for run in children:
        require_no_step_twice(store, run)
    if workers == 1:
        assert {row["step"] for row in found} == {"6"}, "no member is stopped early"
        assert any(int(row["generation"]) for row in found), "a member took over another's weights"
    else:
        assert {row["state"] for row in found} <= FINAL
    assert list(paths.runs.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"train.speed": {"uniform": [0, 1]}}}, "train.speed: no such param"),
        ({"space": {"train.lr": {"uniform": [-1.0, 1.0]}}}, "train.lr: -1.0"),
        ({"space": {"network.norm": {"choice": ["none", "layer"]}}}, "network.norm: 'layer'"),
        ({"space": {"train.ema_decay": {"uniform": [0.5, 1.5]}}}, "train.ema_decay: 1.5"),
        ({"space": {"evaluate.tile": {"choice": [256]}}}, "tune.space.evaluate.tile: a sweep searches params of network, loss"),
        ({"space": {"train.steps": {"choice": [2]}}}, r"tune.space.train.steps: .*\(except train.steps\)"),
        ({"space": {**SPACE, "loss.temperature": {"uniform": [-1, 1], "when": {"loss.prior": "infonce"}}}}, "temperature: -1"),
        ({"algorithm": "pbt", "space": {"network.width": {"choice": [4, 6]}}}, "tune.space.network.width: cannot change"),
        (
            {"algorithm": "pbt", "space": {"loss.contrastive": {"choice": [0.0, 0.1]}}},
            "tune.space.loss.contrastive: pbt cannot",
        ),
        ({"space": CONTRARY}, "tune.space.loss.patches.when: no trial has all that it asks for"),
        ({"algorithm": "pbt", "space": {"train.lr": SPACE["train.lr"]}, "pbt.every": 3}, "tune.pbt.every: 3 is no multiple"),
    ],
)
def test_bad_space_is_refused_before_anything_starts(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    params = tiny_params({**SWEEP, **{f"tune.{key}": value for key, value in changes.items()}})
    with pytest.raises(ConfigError, match=message) as caught:
        tune.run(Project(params, SETTINGS, Paths(tmp_path)))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_missing_validation_pairs_are_refused_before_anything_starts(tmp_path: Path) -> None:
    make_dataset(Paths(tmp_path), "heavy", {"train": 1})
    with pytest.raises(DataError, match="no validation pairs"):
        tune.run(Project(tiny_params(SWEEP), SETTINGS, Paths(tmp_path)))


def refuse(*_: object, **__: object) -> None:
    raise ServiceError("no Ray")


def test_no_run_stays_open(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where Ray fails, nor for the trials of a stopped sweep; a resumed sweep uses the same runs."""
    make_dataset(Paths(tmp_path), "heavy")
    params, client = tiny_params(SWEEP), MlflowClient(store)
    with monkeypatch.context() as patch:
        patch.setattr(tune, "cluster", refuse)
        with pytest.raises(ServiceError, match="no Ray"):
            tune.run(Project(params, SETTINGS, Paths(tmp_path)))
    assert client.get_experiment_by_name(SETTINGS.experiment) is None
    given = SimpleNamespace(config={"trial": "0", "chosen": {"train.lr": 0.001}})
    ids = []
    for resumed in (False, True, True):
        place = RunFiles(f"{tmp_path}/runs/tune-1", None)
        record = SweepTrial(0, {"train.lr": 0.001}, rows=[{"step": 2.0, "psnr_y": 21.0}])  # without the id of its run
        ledger = Ledger("tune-1", {}, "", "", place, [record], resumed=resumed)
        tags = {"sweep": "tune-1", "stage": "tune"}
        with (
            Tracker.start(SETTINGS, "tune-1", {}, tags, same=("sweep", "stage")) as parent,
            tune.SweepRuns(SweepController(params, ledger), SETTINGS, parent.run_id) as runs,
        ):
            runs.on_trial_start(1, [], given)
        ids.append([parent.run_id, runs.trackers["0"].run_id])
        assert [client.get_run(str(run)).info.status for run in ids[-1]] == ["FINISHED", "KILLED"]
    assert ids[0] == ids[1] == ids[2]
    history = client.get_metric_history(str(ids[1][1]), "validation/psnr_y")
    assert [(figure.step, figure.value) for figure in history] == [(2, 21.0)]
