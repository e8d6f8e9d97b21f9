"""The driver's log: a resumed launch has the rows and the MLflow run of the stopped one."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.console import TrainingDisplay
from pipeline.storage.runs import RunFiles, run_files
from pipeline.tracking.tracker import Tracker
from pipeline.training import run_log
from pipeline.training.run_log import RunLog, recall
from rdmc.errors import CheckpointError, ServiceError
from tests.support.data import toy_project

SETTINGS = Settings(workers=1, gpu=False)
NAME = "train-1"


def row(step: int, loss: float) -> dict[str, float]:
    return {"step": step, "epoch": 1.0, "loss": loss, "lr": 0.001, "images_per_second": 10.0, "step_seconds": 0.5}


def follow(place: RunFiles, *rows: dict[str, float]) -> RunLog:
    """Follow a launch that reports ``rows``."""
    log = RunLog(place, NAME)
    with (
        Tracker.start(SETTINGS, "train", {}, {}, run_id=log.run_id) as tracker,
        TrainingDisplay(6) as display,
        log.following(tracker, display) as each,
    ):
        for one in rows:
            each(one)
    return log


def test_a_resumed_launch_continues_its_history_and_its_run(store: str, tmp_path: Path) -> None:
    place = RunFiles(f"{tmp_path}/runs", None)
    first = follow(place, row(2, 0.5), row(4, 0.4))
    assert (first.stepping, sorted(first.rows)) == (1.0, [2, 4])
    second = follow(place, row(4, 0.35), row(6, 0.3))
    assert second.run_id == first.run_id
    assert {step: one["loss"] for step, one in second.rows.items()} == {2: 0.5, 4: 0.35, 6: 0.3}
    assert second.stepping == 1.0, "the steps of this process only"
    history = MlflowClient(store).get_metric_history(str(first.run_id), "loss/total")
    assert sorted((figure.step, figure.value) for figure in history) == [(2, 0.5), (4, 0.4), (6, 0.3)]
    assert "step" not in MlflowClient(store).get_run(str(first.run_id)).data.metrics
    assert recall(place, NAME) == (first.run_id, second.rows)


def test_what_a_killed_driver_missed_is_in_the_checkpoint_and_comes_to_mlflow(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log and MLflow have step 2. The checkpoint at step 6 has 2, 4 and 6, of which the driver saw no more."""
    place = RunFiles(f"{tmp_path}/runs", None)
    first = follow(place, row(2, 0.5))
    rows = [row(2, 0.5), row(4, 0.4), row(6, 0.3)]
    monkeypatch.setattr(run_log, "reported", lambda _: {int(one["step"]): one for one in rows})
    second = follow(place, row(8, 0.2))
    assert (second.run_id, sorted(second.rows)) == (first.run_id, [2, 4, 6, 8])
    history = MlflowClient(store).get_metric_history(str(first.run_id), "loss/total")
    assert sorted((figure.step, figure.value) for figure in history) == [(2, 0.5), (4, 0.4), (6, 0.3), (8, 0.2)]


def test_of_two_rows_of_a_step_the_later_one_counts(tmp_path: Path) -> None:
    path, place = tmp_path / f"{NAME}.jsonl", RunFiles(str(tmp_path), None)
    assert recall(place, NAME) == (None, {})
    path.write_text('{"run_id": "a"}\n{"step": 3, "loss": 2.0}\n{"run_id": "b"}\n{"step": 3, "loss": 1.0}\n')
    assert recall(place, NAME) == ("b", {3: {"step": 3, "loss": 1.0}})


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.jsonl").write_text('{"run_id": "a"}\n{"step"')
    with pytest.raises(CheckpointError, match=r"train-1\.jsonl: .*; delete that file") as error:
        RunLog(RunFiles(str(tmp_path), None), NAME)
    assert "\n" not in str(error.value)


def test_a_driver_in_another_folder_resumes_the_same_run(
    store: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log is in the bucket. While the bucket fails, the training continues, and the log is written later."""
    here, there = (run_files(toy_project(settings, Paths(tmp_path / name))) for name in ("here", "there"))
    first = follow(here, row(2, 0.5))
    assert not (tmp_path / "here").exists()
    log = RunLog(there, NAME)
    assert (log.run_id, list(log.rows)) == (first.run_id, [2])
    write = RunFiles.write

    def fails(place: RunFiles, name: str, text: str) -> None:
        raise ServiceError(f"{name}: the bucket is away")

    with (
        Tracker.start(SETTINGS, "train", {}, {}, run_id=log.run_id) as tracker,
        TrainingDisplay(6) as display,
        log.following(tracker, display) as each,
    ):
        monkeypatch.setattr(RunFiles, "write", fails)
        each({**row(4, 0.4), "psnr_y": 20.0})
        each({**row(5, 0.4), "psnr_y": 20.0})
        assert list(recall(here, NAME)[1]) == [2]
        monkeypatch.setattr(RunFiles, "write", write)
        each({**row(6, 0.3), "psnr_y": 21.0})
        assert list(recall(here, NAME)[1]) == [2, 4, 5, 6], "not only at the end, which a kill would prevent"
    assert capsys.readouterr().out.count("warning: the log of this run could not be written") == 1
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(SETTINGS.experiment)
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status) == (first.run_id, "FINISHED")
    log.drop()
    assert recall(here, NAME) == (None, {})
