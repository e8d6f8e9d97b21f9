"""The ledger on disk: written and read again, stopped sweeps, and what a resumed sweep may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.experiments.sweep.ledger import SweepTrial, check_same, read_ledger, stopped, unfinished
from pipeline.storage.lease import leased
from pipeline.storage.runs import RunFiles
from rdmc.errors import CheckpointError, ConfigError
from tests.support.data import toy_project
from tests.support.sweep import SPACE, new_ledger, plain, swept
from tests.support.waiting import PATIENCE


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    ledger = new_ledger(swept(), tmp_path)
    ledger.trials = [
        SweepTrial(0, {"train.lr": 0.001}, 1.5, "finished", rows=[{"step": 2.0, "psnr_y": 21.0}], run_id="a", closed=True),
        SweepTrial(1, {"loss.prior": "ratio"}, state="failed", cause="loss nan"),
        SweepTrial(2, {}, state="waiting", begun=2, until=4, generation=1, parent=0),
    ]
    ledger.run_id, ledger.earlier = "parent", 100.0
    ledger.save()
    again = read_ledger(ledger.place, "tune-1")
    assert again.trials == ledger.trials
    assert (again.params, again.data, again.code, again.run_id) == (ledger.params, "data", "code", "parent")
    assert again.resumed
    assert 100 <= again.earlier <= again.elapsed < 100 + PATIENCE, "not the seconds since 1970"


def test_a_validation_replaces_rows_of_its_step_and_of_later_ones() -> None:
    trial = SweepTrial(0, {})
    assert (trial.step, trial.score) == (0, None)
    for step, score in ((2.0, 20.0), (4.0, 21.0), (6.0, 22.0), (4.0, 23.0)):
        trial.note({"step": step, "psnr_y": score})
    assert [(row["step"], row["psnr_y"]) for row in trial.rows] == [(2.0, 20.0), (4.0, 23.0)]
    assert (trial.step, trial.score) == (4, 23.0)


def test_resuming_needs_a_stopped_sweep_with_the_same_params_data_and_code(tmp_path: Path) -> None:
    project, params = toy_project(Settings(), Paths(tmp_path)), swept()
    runs = project.paths.runs
    with pytest.raises(ConfigError, match="--resume: no sweep was stopped in .*; start one"):
        stopped(project)
    for name in ("tune-1", "tune-2"):
        new_ledger(params, runs, name).save()
    (runs / "tune-3").mkdir()
    assert unfinished(project) == ["tune-1", "tune-2"], "a folder without a ledger is no sweep"
    newest = stopped(project)
    assert newest.name == "tune-2"
    check_same(newest, plain(swept(trials=99, seconds=10)), "data", "code")
    with pytest.raises(ConfigError, match="--resume: tune.steps is not what tune-2 began with"):
        check_same(newest, plain(swept(steps=16)), "data", "code")
    for data, code, reason in (("others", "code", "on other training data"), ("data", "others", "with other code")):
        with pytest.raises(ConfigError, match=f"--resume: tune-2 was searched {reason}"):
            check_same(newest, newest.params, data, code)
    assert stopped(project, "tune-1").name == "tune-1"
    with pytest.raises(ConfigError, match=r"--sweep: tune-9 is no sweep that was stopped \(tune-1, tune-2\)"):
        stopped(project, "tune-9")
    with leased(RunFiles(str(runs / "tune-2"), None)):
        assert stopped(project).name == "tune-1", "a running sweep is not stopped"


def test_a_damaged_or_absent_ledger_is_named(tmp_path: Path) -> None:
    ledger = new_ledger(swept(), tmp_path)
    for text in (None, "{", "[]", '{"trials": [{"number": 0}]}'):
        if text is not None:
            ledger.place.write("ledger.json", text)
        with pytest.raises(CheckpointError, match=r"ledger\.json: .*; delete that folder") as error:
            read_ledger(ledger.place, "tune-1")
        assert "\n" not in str(error.value)


def test_the_number_of_a_population_s_members_is_fixed(tmp_path: Path) -> None:
    space = {"train.lr": SPACE["train.lr"]}
    ledger = new_ledger(swept(algorithm="pbt", space=space), tmp_path)
    check_same(ledger, plain(swept(algorithm="pbt", space=space, concurrent=1)), "data", "code")
    with pytest.raises(ConfigError, match=r"--resume: tune.trials is not what tune-1 began with"):
        check_same(ledger, plain(swept(algorithm="pbt", space=space, trials=16)), "data", "code")
