"""``clean``: stopped runs are listed and deleted, in a folder and in a real bucket; a run that is held is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.storage import clean
from pipeline.storage.lease import leased, training_lease
from pipeline.storage.results import results_place
from pipeline.storage.runs import RunFiles, run_files
from rdmc.errors import ConfigError
from tests.support.data import toy_project


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 300)


def fill(place: RunFiles, *names: str) -> None:
    for name in names:
        if place.filesystem is None:
            (Path(place.path) / name).mkdir(parents=True)
        place.within(name).write("model", "x" * 1000)


def test_old_runs_on_disk_are_listed_and_then_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = toy_project(Settings(), Paths(tmp_path))
    place = run_files(project)
    fill(place, "train-aa", "tune-b-trial-1", "reference", "train-new")
    for name in ("train-aa", "tune-b-trial-1", "reference"):
        long_ago = time.time() - 3 * clean.DAY
        os.utime(tmp_path / "runs" / name / "model", (long_ago, long_ago))
    (tmp_path / "runs/train-aa.jsonl").write_text("{}")
    clean.run(project, 2, delete=False)
    shown = capsys.readouterr().out
    assert "train-aa" in shown
    assert "3.0" in shown
    assert "nothing was deleted; `python -m pipeline clean --older-than 2 --yes` deletes these 2" in shown
    assert len(place.folders()) == 4
    clean.run(project, 2, delete=True)
    assert place.folders() == ["reference", "train-new"], "a profile's folder is not a stopped run"
    assert not (tmp_path / "runs/train-aa.jsonl").exists()
    clean.run(project, 2, delete=True)
    assert "nothing to clean" in capsys.readouterr().out


def test_old_results_are_deleted_when_asked_for_and_new_ones_stay(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = toy_project(settings, Paths(tmp_path))
    results = results_place(project)
    fill(results, "train-old")
    time.sleep(1.1)  # S3 counts in seconds
    clean.run(project, 0, delete=True)
    assert results.folders() == ["train-old"], "nobody asked for the results"
    clean.run(project, 0, delete=False, results=True)
    assert "clean --older-than 0 --results --yes` deletes these 1" in capsys.readouterr().out
    clean.run(project, 1, delete=True, results=True)
    assert results.folders() == ["train-old"], "written today"
    clean.run(project, 0, delete=True, results=True)
    assert results.folders() == []


def test_results_without_a_bucket_are_an_error_before_anything_is_deleted(tmp_path: Path) -> None:
    project = toy_project(Settings(), Paths(tmp_path))
    place = run_files(project)
    fill(place, "train-aa")
    with pytest.raises(ConfigError, match="RDMC_BUCKET"):
        clean.run(project, 0, delete=True, results=True)
    assert place.folders() == ["train-aa"]


def test_a_run_that_is_held_stays_in_the_bucket_with_its_trials(settings: Settings, tmp_path: Path) -> None:
    project = toy_project(settings, Paths(tmp_path))
    elsewhere = toy_project(settings, Paths(tmp_path / "another machine"))
    place = run_files(project)
    fill(place, "train-held", "train-stopped", "tune-held", "tune-held-trial-1", "tune-stopped")
    for name in ("train-held", "train-stopped"):
        place.write(f"{name}.jsonl", "{}")
    with training_lease(elsewhere, "train-held"), leased(place.within("tune-held")):
        time.sleep(1.1)  # S3 counts in seconds
        assert [one.name for one in clean.leftovers(place, 0)] == ["train-stopped", "tune-stopped"]
        assert clean.leftovers(place, 1) == [], "written today"
        clean.run(project, 0, delete=True)
        assert place.folders() == ["train-held", "tune-held", "tune-held-trial-1"]
        assert (place.read("train-held.jsonl"), place.read("train-stopped.jsonl")) == ("{}", None), "the log goes with its run"
