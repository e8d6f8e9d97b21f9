"""A real sweep of two tiny trials, and the pieces around it."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from ray.exceptions import RayTaskError
from ruamel.yaml import YAML

from pipeline.settings import Settings
from pipeline.stages import tune
from pipeline.tracking import Tracker
from pipeline.trials import Children
from pipeline.workspace import Workspace
from rdmc.errors import ConfigError, DataError, ServiceError, TrainingError
from tests.support.data import make_dataset, tiny_params

SWEEP = {
    "datasets": {"heavy": {"source": "embedded", "rain": "heavy", "variants": 1}},
    "tune.trials": 2,
    "tune.steps": 4,
    "tune.grace_steps": 2,
    "train.validate_every": 2,
    "tune.space": {"train.lr": {"loguniform": [1e-4, 1e-2]}, "loss.ssim": {"choice": [0.0, 0.2]}},
}


def test_sweep_ends_with_best_params_a_table_and_a_run_per_trial(tmp_path: Path, store: str) -> None:
    workspace = Workspace(tmp_path)
    make_dataset(workspace, "heavy")
    params = tiny_params(SWEEP)
    tune.run(params, Settings(workers=1, gpu=False), workspace)

    rows = list(csv.DictReader(workspace.trials.open()))
    assert len(rows) == 2
    assert {row["state"] for row in rows} <= {"finished", "stopped early"}
    best = max(rows, key=lambda row: float(row["psnr_y"]))
    chosen = YAML(typ="safe", pure=True).load(workspace.best_params)
    assert chosen["train"]["lr"] == pytest.approx(float(best["train.lr"]))
    assert chosen["loss"]["ssim"] == float(best["loss.ssim"])

    client = MlflowClient(store)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert len(children) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    logged = {float(run.data.params["train.lr"]): run.data.metrics["psnr_y"] for run in children}
    assert logged == pytest.approx({float(row["train.lr"]): float(row["psnr_y"]) for row in rows})
    assert parents[0].data.metrics["best_psnr_y"] == pytest.approx(float(best["psnr_y"]))
    assert list(workspace.runs.iterdir()) == []


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"train.speed": {"uniform": [0, 1]}}, "train.speed: no such param"),
        ({"train.lr": {"uniform": [-1.0, 1.0]}}, "train.lr: -1.0"),
        ({"network.norm": {"choice": ["none", "layer"]}}, "network.norm: 'layer'"),
        ({"train.ema_decay": {"uniform": [0.5, 1.5]}}, "train.ema_decay: 1.5"),
    ],
)
def test_bad_space_is_refused_before_anything_starts(tmp_path: Path, space: dict[str, object], message: str) -> None:
    params = tiny_params({**SWEEP, "tune.space": space})
    with pytest.raises(ConfigError, match=message):
        tune.run(params, Settings(workers=1, gpu=False), Workspace(tmp_path))


def test_nothing_to_score_on_is_refused_before_anything_starts(tmp_path: Path) -> None:
    make_dataset(Workspace(tmp_path), "heavy", {"train": 1})
    with pytest.raises(DataError, match="no validation pairs"):
        tune.run(tiny_params(SWEEP), Settings(workers=1, gpu=False), Workspace(tmp_path))


def refuse(*_: object, **__: object) -> None:
    raise ServiceError("no Ray")


def test_no_run_stays_open(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where Ray refuses, nor a trial's where the sweep is stopped."""
    make_dataset(Workspace(tmp_path), "heavy")
    params, settings, client = tiny_params(SWEEP), Settings(workers=1, gpu=False), MlflowClient(store)
    with monkeypatch.context() as patch:
        patch.setattr(tune, "cluster", refuse)
        with pytest.raises(ServiceError, match="no Ray"):
            tune.run(params, settings, Workspace(tmp_path))
    assert client.get_experiment_by_name(settings.experiment) is None
    trial = SimpleNamespace(trial_id="t", config={"train.lr": 0.001})
    with Tracker.start(settings, "sweep", {}) as parent, Children(tune._choose, params, settings, parent.run_id) as children:
        children.on_trial_start(1, [], trial)
    statuses = [client.get_run(str(tracker.run_id)).info.status for tracker in (parent, children.trackers["t"])]
    assert statuses == ["FINISHED", "KILLED"]


def test_failed_trial_says_of_what(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RayTaskError("trial", "traceback\n", TrainingError("loss nan\nat step 3"))
    result = SimpleNamespace(metrics={"trial_id": "t"}, config={"train.lr": 1.0, "loss.ssim": 0.2}, error=error)
    row = tune._row(result, tiny_params(SWEEP))
    assert (row["state"], row["cause"]) == ("failed", "loss nan at step 3")


def test_best_params_are_nested_as_in_params_yaml() -> None:
    text = tune.best_params_yaml({"train.lr": 0.001, "train.crop": 64, "loss.ssim": 0.2})
    assert YAML(typ="safe", pure=True).load(text) == {"train": {"lr": 0.001, "crop": 64}, "loss": {"ssim": 0.2}}
