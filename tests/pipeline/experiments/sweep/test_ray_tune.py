"""Sweeps without Ray: trials that are stopped at any moment, ledgers that are read again, bounds that are kept."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.experiments.sweep.ledger import Ledger, check_same, read_ledger, stopped
from pipeline.experiments.sweep.lock import driven
from pipeline.experiments.sweep.ray_tune import SweepController, choose
from pipeline.storage.runs import RunFiles
from rdmc.errors import CheckpointError, ConfigError
from tests.support.data import tiny_params, toy_project

SPACE = {
    "train.lr": {"loguniform": [1e-4, 1e-2]},
    "loss.prior": {"choice": ["ratio", "infonce"]},
    "loss.temperature": {"loguniform": [0.03, 0.3], "when": {"loss.prior": "infonce"}},
}


def swept(**changes: Any) -> Params:
    told = {"trials": 8, "steps": 8, "grace_steps": 2, "space": SPACE} | changes
    return tiny_params({"train.validate_every": 2} | {f"tune.{key}": value for key, value in told.items()})


def new(params: Params, folder: Path) -> Ledger:
    return Ledger("tune-1", params.model_dump(mode="json", by_alias=True), "data", "code", RunFiles(f"{folder}/tune-1", None))


def quality(chosen: dict[str, Any], step: int) -> float:
    return 20 + step / 10 - abs(float(np.log(chosen["train.lr"] / 1e-3))) - float(chosen.get("loss.temperature", 0))


def play(params: Params, ledger: Ledger, kill_after: int | None = None, slots: int = 2) -> list[dict[str, Any]]:
    """Act as Ray Tune and its trials until nothing is left to do, or until ``kill_after`` events; what was started."""
    conductor, running, started, events = SweepController(params, ledger), list[dict[str, Any]](), list[dict[str, Any]](), 0
    while True:
        while len(running) < slots and isinstance(config := conductor.next(), dict):
            running.append({**config, "at": ledger.trials[int(config["trial"])].step})
            started.append(config)
        if not running:
            conductor.close()
            return started
        trial = running.pop(0)
        if kill_after is not None and events >= kill_after:
            return started
        events += 1
        number, end = int(trial["trial"]), trial["until"] or params.tune.steps
        trial["at"] = min(trial["at"] + 2, end)
        stays = conductor.report(number, {"step": trial["at"], "psnr_y": quality(trial["chosen"], trial["at"])})
        if stays and trial["at"] < end:
            running.append(trial)
        else:
            conductor.ended(number)


@pytest.mark.parametrize("algorithm", ["optuna", "random", "pbt"])
@pytest.mark.parametrize("kill", [0, 1, 5, 9, 14])
def test_a_sweep_that_is_killed_ends_as_one_that_was_not(tmp_path: Path, algorithm: str, kill: int) -> None:
    """With one trial at a time, to the last digit: the ledger on disk is all that is needed."""
    space = SPACE if algorithm != "pbt" else {"train.lr": SPACE["train.lr"]}
    params = swept(algorithm=algorithm, space=space, pbt={"every": 4, "quantile": 0.25, "resample": 0.5}, concurrent=1)
    whole = new(params, tmp_path / "whole")
    play(params, whole, slots=1)
    cut = new(params, tmp_path / "cut")
    cut.save()
    play(params, cut, kill, slots=1)
    again = read_ledger(cut.place, "tune-1")
    play(params, again, slots=1)
    assert again.trials == whole.trials
    assert {entry.state for entry in whole.trials} <= {"finished", "stopped early"}
    assert len(whole.trials) == 8
    if algorithm == "pbt":
        assert any(entry.generation for entry in whole.trials)
    else:
        assert {entry.state for entry in whole.trials} == {"finished", "stopped early"}


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_what_was_running_is_started_again_first_and_once(tmp_path: Path, slots: int) -> None:
    params = swept()
    ledger = new(params, tmp_path)
    play(params, ledger, 6, slots)
    running = [entry for entry in copy.deepcopy(ledger.trials) if entry.state == "running"]
    again = read_ledger(ledger.place, "tune-1")
    started = play(params, again, slots=slots)
    assert [int(config["trial"]) for config in started[: len(running)]] == [entry.number for entry in running]
    assert [config["chosen"] for config in started[: len(running)]] == [entry.chosen for entry in running]
    assert len(again.trials) == 8
    assert all(entry.state in ("finished", "stopped early") for entry in again.trials)


def test_bounds_of_steps_and_time_are_kept(tmp_path: Path) -> None:
    params = swept(total_steps=20, trials=50, grace_steps=8)
    ledger = new(params, tmp_path)
    play(params, ledger)
    assert 20 <= ledger.steps <= 20 + 2 * 2
    assert all(entry.state in ("finished", "stopped early") for entry in ledger.trials)
    late = swept(seconds=5, trials=50)
    ledger = new(late, tmp_path / "late")
    ledger.earlier = 6.0
    assert play(late, ledger) == []
    assert ledger.trials == []


def test_a_trial_that_fails_stops_no_other(tmp_path: Path) -> None:
    params = swept(trials=3)
    ledger = new(params, tmp_path)
    conductor = SweepController(params, ledger)
    given = conductor.next()
    assert isinstance(given, dict)
    assert (given["trial"], given["chosen"]) == ("0", ledger.trials[0].chosen)
    assert conductor.report(0, {"failure": "loss nan at step 3"})
    conductor.ended(0)
    play(params, ledger)
    assert (ledger.trials[0].state, ledger.trials[0].cause) == ("failed", "loss nan at step 3")
    assert len(ledger.trials) == 3
    assert not ledger.trials[0].rows


def test_cost_is_that_of_the_trial_s_network(tmp_path: Path) -> None:
    space = {"network.width": {"choice": [2, 4]}}
    params = swept(objectives=["psnr_y", "gflop"], space=space, trials=4, algorithm="random")
    ledger = new(params, tmp_path)
    conductor = SweepController(params, ledger)
    for _ in range(4):
        conductor.next()
    costs = {entry.chosen["network.width"]: entry.gflop for entry in ledger.trials}
    assert len(costs) == 2
    assert (costs[4] or 0) > 2 * (costs[2] or 0) > 0


def test_a_trial_s_params_are_short_and_overridden() -> None:
    chosen = choose(swept(), {"chosen": {"train.lr": 0.002}})
    assert (chosen.train.steps, chosen.train.lr) == (8, 0.002)


def test_going_on_needs_a_sweep_of_the_same_params_and_data(tmp_path: Path) -> None:
    paths, settings, params = Paths(tmp_path), Settings(), swept()
    with pytest.raises(ConfigError, match="--resume: no sweep was stopped in .*; start one"):
        stopped(toy_project(settings, paths))
    for name in ("tune-1", "tune-2"):
        told = params.model_dump(mode="json", by_alias=True)
        Ledger(name, told, "data", "code", RunFiles(str(paths.runs / name), None)).save()
    (paths.runs / "tune-3").mkdir()
    found = stopped(toy_project(settings, paths))
    assert found.name == "tune-2"
    check_same(found, swept(trials=99, seconds=10).model_dump(mode="json", by_alias=True), "data", "code")
    with pytest.raises(ConfigError, match="--resume: tune.steps is not what tune-2 began with"):
        check_same(found, swept(steps=16).model_dump(mode="json", by_alias=True), "data", "code")
    for data, code, said in (("others", "code", "on other training data"), ("data", "others", "with other code")):
        with pytest.raises(ConfigError, match=f"--resume: tune-2 was searched {said}"):
            check_same(found, found.params, data, code)
    assert stopped(toy_project(settings, paths), "tune-1").name == "tune-1"
    with pytest.raises(ConfigError, match=r"--sweep: tune-9 is no sweep that was stopped \(tune-1, tune-2\)"):
        stopped(toy_project(settings, paths), "tune-9")
    with driven(RunFiles(str(paths.runs / "tune-2"), None)):
        assert stopped(toy_project(settings, paths)).name == "tune-1", "the other one is not stopped"
    (paths.runs / "tune-2/ledger.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"ledger\.json: .*; delete that folder"):
        stopped(toy_project(settings, paths))


def test_a_population_does_not_grow(tmp_path: Path) -> None:
    space = {"train.lr": SPACE["train.lr"]}
    ledger = new(swept(algorithm="pbt", space=space), tmp_path)
    check_same(ledger, swept(algorithm="pbt", space=space, concurrent=1).model_dump(mode="json", by_alias=True), "data", "code")
    with pytest.raises(ConfigError, match=r"--resume: tune.trials is not what tune-1 began with"):
        check_same(
            ledger, swept(algorithm="pbt", space=space, trials=16).model_dump(mode="json", by_alias=True), "data", "code"
        )


def test_a_validation_that_is_told_again_is_not_judged_again(tmp_path: Path) -> None:
    """It passed its rung; those that came since would stop it only because its process was killed."""
    params = swept(trials=5)
    conductor = SweepController(params, new(params, tmp_path))
    for _ in range(5):
        conductor.next()
    assert conductor.report(0, {"step": 2, "psnr_y": 20.0}), "nothing to be compared with"
    for number in range(1, 5):
        conductor.report(number, {"step": 2, "psnr_y": 25.0})
    assert conductor.report(0, {"step": 2, "psnr_y": 20.0})
    for number in range(1, 4):
        conductor.report(number, {"step": 4, "psnr_y": 25.0})
    assert not conductor.report(0, {"step": 4, "psnr_y": 20.1}), "the next rung counts as ever"
