"""A sweep's controller without Ray: kills at any moment, sweeps resumed from their ledgers, bounds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.params import Params
from pipeline.experiments.sweep.ledger import Ledger, read_ledger
from pipeline.experiments.sweep.ray_tune import SweepController, choose
from tests.support.sweep import SPACE, new_ledger, swept


def quality(chosen: dict[str, Any], step: int) -> float:
    return 20 + step / 10 - abs(float(np.log(chosen["train.lr"] / 1e-3))) - float(chosen.get("loss.temperature", 0))


def play(params: Params, ledger: Ledger, kill_after: int | None = None, slots: int = 2) -> list[dict[str, Any]]:
    """Act as Ray Tune and its trials until the sweep has ended or ``kill_after`` events; return the started trials' configs."""
    controller, running, started, events = SweepController(params, ledger), list[dict[str, Any]](), list[dict[str, Any]](), 0
    while True:
        while len(running) < slots and isinstance(config := controller.next(), dict):
            running.append({**config, "at": ledger.trials[int(config["trial"])].step})
            started.append(config)
        if not running:
            controller.close()
            return started
        trial = running.pop(0)
        if kill_after is not None and events >= kill_after:
            return started
        events += 1
        number, end = int(trial["trial"]), trial["until"] or params.tune.steps
        trial["at"] = min(trial["at"] + 2, end)
        stays = controller.report(number, {"step": trial["at"], "psnr_y": quality(trial["chosen"], trial["at"])})
        if stays and trial["at"] < end:
            running.append(trial)
        else:
            controller.ended(number)


@pytest.mark.parametrize("algorithm", ["optuna", "random", "pbt"])
@pytest.mark.parametrize("kill", [0, 1, 5, 9, 14])
def test_a_killed_sweep_ends_with_the_same_trials_as_an_uninterrupted_one(tmp_path: Path, algorithm: str, kill: int) -> None:
    """With one trial at a time, results are equal to the last digit: the ledger on disk is the whole state."""
    space = SPACE if algorithm != "pbt" else {"train.lr": SPACE["train.lr"]}
    params = swept(algorithm=algorithm, space=space, pbt={"every": 4, "quantile": 0.25, "resample": 0.5}, concurrent=1)
    whole = new_ledger(params, tmp_path / "whole")
    play(params, whole, slots=1)
    cut = new_ledger(params, tmp_path / "cut")
    cut.save()
    play(params, cut, kill, slots=1)
    again = read_ledger(cut.place, "tune-1")
    play(params, again, slots=1)
    assert again.trials == whole.trials
    assert {trial.state for trial in whole.trials} <= {"finished", "stopped early"}
    assert len(whole.trials) == 8
    if algorithm == "pbt":
        assert any(trial.generation for trial in whole.trials)
    else:
        assert {trial.state for trial in whole.trials} == {"finished", "stopped early"}


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_running_trials_are_restarted_first_and_once(tmp_path: Path, slots: int) -> None:
    params = swept()
    ledger = new_ledger(params, tmp_path)
    play(params, ledger, 6, slots)
    running = [trial for trial in copy.deepcopy(ledger.trials) if trial.state == "running"]
    again = read_ledger(ledger.place, "tune-1")
    started = play(params, again, slots=slots)
    assert [int(config["trial"]) for config in started[: len(running)]] == [trial.number for trial in running]
    assert [config["chosen"] for config in started[: len(running)]] == [trial.chosen for trial in running]
    assert len(again.trials) == 8
    assert all(trial.state in ("finished", "stopped early") for trial in again.trials)


def test_the_sweep_ends_at_its_bounds_on_steps_and_time(tmp_path: Path) -> None:
    params = swept(total_steps=20, trials=50, grace_steps=8)
    ledger = new_ledger(params, tmp_path)
    play(params, ledger)
    assert 20 <= ledger.steps <= 20 + 2 * 2
    assert all(trial.state in ("finished", "stopped early") for trial in ledger.trials)
    late = swept(seconds=5, trials=50)
    ledger = new_ledger(late, tmp_path / "late")
    ledger.earlier = 6.0
    assert play(late, ledger) == []
    assert ledger.trials == []


def test_a_failed_trial_does_not_stop_the_others(tmp_path: Path) -> None:
    params = swept(trials=3)
    ledger = new_ledger(params, tmp_path)
    controller = SweepController(params, ledger)
    given = controller.next()
    assert isinstance(given, dict)
    assert (given["trial"], given["chosen"]) == ("0", ledger.trials[0].chosen)
    assert controller.report(0, {"failure": "loss nan at step 3"})
    controller.ended(0)
    play(params, ledger)
    assert (ledger.trials[0].state, ledger.trials[0].cause) == ("failed", "loss nan at step 3")
    assert len(ledger.trials) == 3
    assert not ledger.trials[0].rows


def test_the_cost_is_that_of_the_trial_s_own_network(tmp_path: Path) -> None:
    space = {"network.width": {"choice": [4, 8]}}
    params = swept(objectives=["psnr_y", "gflop"], space=space, trials=4, algorithm="random")
    ledger = new_ledger(params, tmp_path)
    controller = SweepController(params, ledger)
    for _ in range(4):
        controller.next()
    costs = {trial.chosen["network.width"]: trial.gflop for trial in ledger.trials}
    assert len(costs) == 2
    assert (costs[8] or 0) > 2 * (costs[4] or 0) > 0


def test_a_trial_has_the_sweep_s_steps_and_its_chosen_params() -> None:
    chosen = choose(swept(), {"chosen": {"train.lr": 0.002}})
    assert (chosen.train.steps, chosen.train.lr) == (8, 0.002)


def test_a_validation_repeated_after_a_kill_is_not_judged_again(tmp_path: Path) -> None:
    """It has passed its rung already; trials that reported since would stop it only because its process was killed."""
    params = swept(trials=5)
    controller = SweepController(params, new_ledger(params, tmp_path))
    for _ in range(5):
        controller.next()
    assert controller.report(0, {"step": 2, "psnr_y": 20.0}), "there is nothing to compare it with"
    for number in range(1, 5):
        controller.report(number, {"step": 2, "psnr_y": 25.0})
    assert controller.report(0, {"step": 2, "psnr_y": 20.0})
    for number in range(1, 4):
        controller.report(number, {"step": 4, "psnr_y": 25.0})
    assert not controller.report(0, {"step": 4, "psnr_y": 20.1}), "the next rung is judged as usual"
