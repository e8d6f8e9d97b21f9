"""Checkpoints of Ray's storage: copied as a whole, deleted, and failures in one line. No Ray cluster is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray.train
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import _CheckpointManagerState, _TrainingResultState

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.runs import RunFiles
from pipeline.training.checkpoints import (
    REPORTS,
    TrainingResult,
    bring_home,
    forget,
    opened,
    read_reports,
    reported,
    resume_point,
    write_reports,
)
from rdmc.checkpoint import FACTS, WEIGHTS
from rdmc.errors import ServiceError
from tests.support.data import toy_project

SETTINGS = Settings(workers=1, gpu=False)


def stored(folder: Path, **files: str) -> ray.train.Checkpoint:
    """A checkpoint with these files, and weights and facts named after its folder."""
    folder.mkdir(parents=True)
    for name, text in {WEIGHTS: f"weights of {folder.name}", FACTS: f"facts of {folder.name}", **files}.items():
        (folder / name).write_text(text)
    return ray.train.Checkpoint.from_directory(str(folder))


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_best_model_and_the_last_state_replace_older_ones(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    for folder in (paths.best, paths.last):
        folder.mkdir(parents=True)
        (folder / "older").write_text("of an earlier training")
    best, last = (stored(tmp_path / name, state=f"state of {name}", **{REPORTS: ""}) for name in ("best", "last"))
    bring_home(TrainingResult({}, {}, best, last), paths)
    assert content(paths.best) == {WEIGHTS: "weights of best", FACTS: "facts of best"}, "a model without the training's state"
    assert content(paths.last) == {WEIGHTS: "weights of last", FACTS: "facts of last", "state": "state of last"}, "no times"


def test_an_opened_checkpoint_is_a_folder(tmp_path: Path) -> None:
    with opened(stored(tmp_path / "one")) as folder:
        assert content(folder)[WEIGHTS] == "weights of one"


def test_a_finished_run_is_deleted_and_others_stay(tmp_path: Path) -> None:
    project = toy_project(SETTINGS, Paths(tmp_path))
    for name in ("train-1", "train-2"):
        stored(project.paths.runs / name / "checkpoint")
    assert forget(project, "train-1")
    assert [path.name for path in project.paths.runs.iterdir()] == ["train-2"]
    assert forget(project, "never made")


def test_a_run_resumes_from_the_checkpoint_that_ray_noted_last(tmp_path: Path) -> None:
    place = RunFiles(str(tmp_path), None)
    assert resume_point(place) is None, "nothing was trained yet"
    known = [_TrainingResultState(checkpoint_dir_name=f"checkpoint_{step}", metrics={"step": step}) for step in (200, 400)]
    lists = [name for name in _CheckpointManagerState.model_fields if name not in ("ray_version", "current_report_index")]
    filled = {"current_report_index": 2, "checkpoint_results": known, "latest_checkpoint_result": known[1]}
    note = _CheckpointManagerState(**{**{name: [] for name in lists}, **filled})
    (tmp_path / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME).write_text(note.model_dump_json())
    assert resume_point(place) == (400, f"{tmp_path}/checkpoint_400")
    assert reported(place) == {}, "a checkpoint of earlier code has no reports"
    (tmp_path / "checkpoint_400").mkdir()
    rows = [{"step": step, "loss": 1 / step} for step in (200, 400)]
    write_reports(tmp_path / "checkpoint_400", rows)
    assert reported(place) == {200: rows[0], 400: rows[1]}
    assert read_reports(tmp_path / "checkpoint_400") == rows
    assert read_reports(tmp_path) == []
    (tmp_path / "checkpoint_400" / REPORTS).write_text('{"step": 200}\n{"ste')
    assert reported(place) == {}
    for text in ("", "{}", '{"latest_checkpoint_result": {"metrics": {}}}', '{"latest_checkpoint_result": null}', "no json"):
        (tmp_path / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME).write_text(text)
        assert resume_point(place) is None


def test_storage_that_fails_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    assert not forget(toy_project(SETTINGS, Paths(tmp_path)), "gone")
    assert "runs/gone" in capsys.readouterr().out
    gone = ray.train.Checkpoint.from_directory(str(tmp_path / "gone"))
    with pytest.raises(ServiceError, match="gone") as error:
        bring_home(TrainingResult({}, {}, gone, gone), Paths(tmp_path))
    assert "\n" not in str(error.value)
    assert list(tmp_path.glob("checkpoints/*")) == []
