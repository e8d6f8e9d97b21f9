"""The parts of trials that need no cluster: folders, causes, and the errors that are returned or raised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray.train
from ray.exceptions import ActorDiedError
from ray.tune.error import TuneError
from ray.tune.integration.ray_train import TuneReportCallback

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_overrides
from pipeline.config.settings import Settings
from pipeline.experiments import trials
from pipeline.experiments.trials import TUNE, Validations, cause, folder_of, forget_trials, grid, like_worker
from pipeline.training.checkpoints import TrainingResult
from pipeline.training.worker import Row
from rdmc.errors import ServiceError, TrainingError
from tests.support.data import toy_project

SETTINGS = Settings(workers=1, gpu=False)


def test_a_grid_has_one_trial_per_value_in_order() -> None:
    space, rules = grid("trial", ["full/0", "less/0"], 2)
    assert space == {"trial": {"grid_search": ["full/0", "less/0"]}}
    assert (rules.num_samples, rules.max_concurrent_trials, rules.scheduler) == (1, 2, None)


def test_a_trial_s_folder_is_a_single_name() -> None:
    assert folder_of("one-pass/3") == "trial-one-pass-3"
    assert folder_of("7") == "trial-7"


def test_a_cause_is_the_innermost_error_on_one_line() -> None:
    inner = TrainingError("loss nan\nat step 3")
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("wrapped") from inner
    assert cause(caught.value) == cause(inner)
    assert "loss nan" in cause(inner)
    assert "\n" not in cause(inner)
    assert cause("its process\ndied") == cause("its process died")


@pytest.mark.parametrize("inner", [ServiceError("no space left; free some"), OSError("disk full")])
def test_an_error_of_the_driver_is_unwrapped(inner: Exception) -> None:
    outer = TuneError("a traceback of many lines")
    middle = RuntimeError("in a callback")
    middle.__context__ = inner
    outer.__cause__ = middle
    assert trials._behind(outer) is inner
    other = TuneError("from Tune itself")
    assert trials._behind(other) is other


def test_only_the_files_of_the_named_trials_are_deleted(tmp_path: Path) -> None:
    project = toy_project(SETTINGS, Paths(tmp_path))
    names = ("tune-1", f"tune-1{TUNE}", "tune-1-trial-0", "tune-10", f"tune-10{TUNE}", "train-1")
    for name in names:
        (project.paths.runs / name / "inside").mkdir(parents=True)
    forget_trials(project, "tune-1")
    assert sorted(path.name for path in project.paths.runs.iterdir()) == sorted(names[3:])


def test_with_one_worker_the_work_runs_in_this_process() -> None:
    assert like_worker(SETTINGS, lambda a, b: a + b, 2, 3) == 5
    with pytest.raises(TrainingError, match="^loss nan$"):
        like_worker(SETTINGS, _fail, TrainingError("loss nan"))


def _fail(error: Exception) -> None:
    raise error


def test_only_reports_with_a_score_are_passed_to_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[Row] = []
    monkeypatch.setattr(TuneReportCallback, "after_report", lambda self, context, metrics, point: passed.extend(metrics))
    callback = Validations.__new__(Validations)
    callback.after_report(None, [{"step": 1.0, "loss": 1.0}], None)
    callback.after_report(None, [{"step": 2.0, "psnr_y": 20.0}], None)
    assert passed == [{"step": 2.0, "psnr_y": 20.0}]


def choose(params: Params, config: dict[str, Any]) -> Params:
    return with_overrides(params, config["chosen"])


def finish(project: Project[Params], result: TrainingResult, rows: list[Row]) -> dict[str, Any]:
    return {"lr": project.params.train.lr, "steps": [row["step"] for row in rows]}


def run_trial(project: Project[Params], monkeypatch: pytest.MonkeyPatch, error: Exception | None, **chosen: Any) -> Any:
    """One trial whose training is replaced: it reports one row, or raises ``error``."""

    def train(config: dict[str, Any], own: Project[Params], name: str, rows: list[Row]) -> TrainingResult:
        if error:
            raise error
        rows.append({"step": 4.0, "psnr_y": 20.0})
        return TrainingResult(rows[0], rows[0], *[ray.train.Checkpoint(str(project.paths.root))] * 2)

    monkeypatch.setattr(trials, "_train_in_process", train)
    monkeypatch.chdir(project.paths.root)
    config = {"trial": "0", "chosen": {key.replace("__", "."): value for key, value in chosen.items()}}
    return trials._trial(config, choose, finish, project.to_plain(), str(project.paths.root), "tune-1")


def test_a_trial_returns_its_figures_or_its_own_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = toy_project(SETTINGS, Paths(tmp_path))
    assert run_trial(project, monkeypatch, None, train__lr=0.002) == {"lr": 0.002, "steps": [4.0]}
    assert run_trial(project, monkeypatch, TrainingError("loss nan")) == {"failure": cause(TrainingError("loss nan"))}
    assert "train.lr: -1" in run_trial(project, monkeypatch, None, train__lr=-1.0)["failure"]
    with pytest.raises(ActorDiedError):  # Tune restarts the trial
        run_trial(project, monkeypatch, ActorDiedError())
