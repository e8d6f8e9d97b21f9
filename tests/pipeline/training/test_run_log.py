"""The driver's log: a resumed launch has the rows and the MLflow run of the stopped one."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.settings import Settings
from pipeline.console import TrainingDisplay
from pipeline.tracking.tracker import Tracker
from pipeline.training.run_log import RunLog, recall
from rdmc.errors import CheckpointError

SETTINGS = Settings(workers=1, gpu=False)


def row(step: int, loss: float) -> dict[str, float]:
    return {"step": step, "epoch": 1.0, "loss": loss, "lr": 0.001, "images_per_second": 10.0, "step_seconds": 0.5}


def follow(path: Path, *rows: dict[str, float]) -> RunLog:
    """Follow a launch that reports ``rows``."""
    log = RunLog(path)
    with (
        Tracker.start(SETTINGS, "train", {}, {}, run_id=log.run_id) as tracker,
        TrainingDisplay(6) as display,
        log.following(tracker, display) as each,
    ):
        for one in rows:
            each(one)
    return log


def test_a_resumed_launch_continues_its_history_and_its_run(store: str, tmp_path: Path) -> None:
    path = tmp_path / "runs/train-1.jsonl"
    first = follow(path, row(2, 0.5), row(4, 0.4))
    assert (first.stepping, sorted(first.rows)) == (1.0, [2, 4])
    second = follow(path, row(4, 0.35), row(6, 0.3))
    assert second.run_id == first.run_id
    assert {step: one["loss"] for step, one in second.rows.items()} == {2: 0.5, 4: 0.35, 6: 0.3}
    assert second.stepping == 1.0, "the steps of this process only"
    history = MlflowClient(store).get_metric_history(str(first.run_id), "loss/total")
    assert {(figure.step, figure.value) for figure in history} >= {(2, 0.5), (4, 0.4), (6, 0.3)}
    assert "step" not in MlflowClient(store).get_run(str(first.run_id)).data.metrics
    assert recall(path) == (first.run_id, second.rows)


def test_of_two_rows_of_a_step_the_later_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert recall(path) == (None, {})
    path.write_text('{"run_id": "a"}\n{"step": 3, "loss": 2.0}\n{"run_id": "b"}\n{"step": 3, "loss": 1.0}\n')
    assert recall(path) == ("b", {3: {"step": 3, "loss": 1.0}})


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"run_id": "a"}\n{"step"')
    with pytest.raises(CheckpointError, match=r"log\.jsonl: .*; delete that file") as error:
        RunLog(path)
    assert "\n" not in str(error.value)
