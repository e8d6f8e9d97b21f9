"""The decisions of a sweep: compared with independent formulations of the rules, and with simulated trials."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from pipeline.config.params import Params
from pipeline.config.tune import Tune
from pipeline.experiments.sweep.algorithms import donor, explore, front, goes_on, next_stretch, rung, suggest
from pipeline.experiments.sweep.ledger import SweepTrial
from rdmc.errors import ConfigError
from tests.support.data import tiny_params

SPACE: dict[str, Any] = {
    "loss.temperature": {"loguniform": [0.03, 0.3], "when": {"loss.prior": "infonce"}},
    "train.lr": {"loguniform": [1e-4, 1e-2]},
    "loss.prior": {"choice": ["ratio", "infonce"]},
    "network.width": {"integer": [2, 5]},
    "loss.ssim": {"uniform": [0.0, 0.5], "when": {"loss.prior": ["ratio", "infonce"]}},
}


def tuned(**changes: Any) -> Tune:
    overrides = {"steps": 8, "grace_steps": 2, "space": SPACE} | changes
    return tiny_params({f"tune.{key}": value for key, value in overrides.items()}).tune


def entry(
    number: int, *scores: float, state: Any = "finished", gflop: float | None = None, every: int = 2, **more: Any
) -> SweepTrial:
    rows = [{"step": float(every * (place + 1)), "psnr_y": score} for place, score in enumerate(scores)]
    return SweepTrial(number, more.pop("chosen", {}), gflop, state, rows=rows, **more)


@pytest.mark.parametrize("algorithm", ["optuna", "random"])
def test_values_lie_in_their_domains_and_conditions_hold(algorithm: str) -> None:
    tune = tuned(algorithm=algorithm)
    entries: list[SweepTrial] = []
    for number in range(24):
        chosen = suggest(tune, entries, 7)
        assert chosen == suggest(tune, entries, 7), "the same ledger gives the same values"
        assert list(chosen) == [key for key in SPACE if key in chosen]
        assert ("loss.temperature" in chosen) == (chosen["loss.prior"] == "infonce")
        assert 1e-4 <= chosen["train.lr"] <= 1e-2
        assert chosen["network.width"] in range(2, 6)
        assert 0 <= chosen["loss.ssim"] <= 0.5
        entries.append(entry(number, -abs(np.log(chosen["train.lr"] / 1e-3)), chosen=chosen))
    assert len({e.chosen["loss.prior"] for e in entries}) == 2
    assert len({e.chosen["train.lr"] for e in entries}) == 24


def test_optuna_learns_from_the_ledger_and_random_does_not() -> None:
    """Mean distance, in the logarithm, from the best rate, over the later half of 60 trials."""

    def late(algorithm: str) -> float:
        tune = tuned(algorithm=algorithm, space={"train.lr": {"loguniform": [1e-5, 1e-1]}})
        entries: list[SweepTrial] = []
        for number in range(60):
            chosen = suggest(tune, entries, 0)
            entries.append(entry(number, -abs(np.log(chosen["train.lr"] / 1e-3)), chosen=chosen))
        return -float(np.mean([e.score or 0 for e in entries[30:]]))

    assert late("optuna") < 0.6 * late("random")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"loss.temperature": {"uniform": [0.1, 1], "when": {"loss.prior": "infonce"}}}, "loss.prior is not searched"),
        (
            {
                "loss.ssim": {"uniform": [0.1, 1], "when": {"loss.prior": "rati"}},
                "loss.prior": {"choice": ["ratio", "infonce"]},
            },
            "'rati' is none of",
        ),
        ({"loss.ssim": {"uniform": [0.1, 1], "when": {"train.lr": 1}}, "train.lr": {"uniform": [0.1, 1]}}, "is no choice"),
        (
            {
                "loss.ssim": {"choice": [0.0, 0.1], "when": {"loss.pixel": "l1"}},
                "loss.pixel": {"choice": ["l1"], "when": {"loss.ssim": 0.1}},
            },
            "conditions go round",
        ),
        ({"loss.ssim": {"integer": [3, 3]}}, "first bound should be below"),
        ({"loss.ssim": {"uniform": [0, 1], "if": {}}}, "unknown key"),
    ],
)
def test_an_impossible_space_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        tuned(space=space)
    assert "\n" not in str(caught.value)
    assert "tune" in str(caught.value)


def test_rungs_are_passed_once() -> None:
    tune = tuned(steps=16, grace_steps=2, reduction=2)
    assert [rung(tune, before, before + 1) for before in range(16)] == [0, 2, 0, 4, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]
    assert rung(tune, 1, 9) == 8
    assert rung(tuned(steps=16, grace_steps=16), 0, 16) == 0


@pytest.mark.parametrize("reduction", [2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
def test_halving_keeps_the_trials_above_the_quantile(reduction: int, count: int) -> None:
    """With one objective the rule is that of the papers: a trial continues unless it is below the quantile 1 - 1/reduction."""
    tune = tuned(reduction=reduction, steps=8, grace_steps=2)
    scores = np.random.default_rng(count).permutation(count).astype(float)
    others = [entry(number, score) for number, score in enumerate(scores)]
    keeps = [goes_on(tune, own, others) for own in others]
    cut = np.quantile(scores, 1 - 1 / reduction)
    assert keeps == [score >= cut - 1e-9 for score in scores]


def test_with_two_objectives_a_cheap_trial_is_not_stopped_for_its_quality() -> None:
    tune = tuned(objectives=["psnr_y", "gflop"])
    entries = [entry(0, 30.0, gflop=4.0), entry(1, 25.0, gflop=1.0), entry(2, 24.0, gflop=2.0), entry(3, 20.0, gflop=5.0)]
    assert [goes_on(tune, own, entries) for own in entries] == [True, True, True, False]
    assert [e.number for e in front(tune, entries)] == [0, 1]
    assert [e.number for e in front(tuned(), entries)] == [0]


def test_the_front_has_the_trials_that_no_other_dominates() -> None:
    tune, rng = tuned(objectives=["psnr_y", "gflop"]), np.random.default_rng(3)
    entries = [entry(n, float(rng.integers(8)), gflop=float(rng.integers(8))) for n in range(20)]
    found = {e.number for e in front(tune, entries)}
    for one, other in itertools.permutations(entries, 2):
        worse = (one.score or 0) <= (other.score or 0) and (one.gflop or 0) >= (other.gflop or 0)
        if worse and (one.score, one.gflop) != (other.score, other.gflop):
            assert one.number not in found
    assert found


def test_no_member_runs_ahead_and_the_worst_take_over_the_best_weights() -> None:
    tune = tuned(algorithm="pbt", pbt={"every": 4, "quantile": 0.25, "resample": 0.0}, trials=4)
    ended = [entry(n, 1.0, 10.0 - n, state="waiting", until=4) for n in range(4)]
    ended[2] = entry(2, 1.0, state="running", until=4)
    assert next_stretch(tune, ended) is None, "number 2 is still in the first stretch"
    ended[2] = entry(2, 1.0, 8.0, state="waiting", until=4)
    first = next_stretch(tune, ended)
    assert first is ended[0]
    assert [donor(tune, e, ended, 0) for e in ended[:3]] == [None] * 3
    assert donor(tune, ended[3], ended, 0) is ended[0]
    first.state, first.begun, first.until = "running", 4, 8
    assert next_stretch(tune, ended) is ended[1], "a member that runs from the same step holds no other up"
    ended[1].state = "failed"
    assert next_stretch(tune, ended) is ended[2]


@pytest.mark.parametrize("resample", [0.0, 1.0])
def test_params_that_are_taken_over_stay_in_their_domains(resample: float) -> None:
    tune = tuned(algorithm="pbt", pbt={"every": 4, "quantile": 0.25, "resample": resample}, trials=4)
    chosen = {"train.lr": 9.9e-3, "loss.prior": "ratio", "network.width": 5, "loss.ssim": 0.5}
    explored = [explore(tune, chosen, number, 4, 0) for number in range(40)]
    assert explored[3] == explore(tune, chosen, 3, 4, 0)
    for moved in explored:
        assert 1e-4 <= moved["train.lr"] <= 1e-2
        assert moved["network.width"] in range(2, 6)
        assert ("loss.temperature" in moved) == (moved["loss.prior"] == "infonce")
        assert 0 <= moved["loss.ssim"] <= 0.5
    assert len({moved["loss.prior"] for moved in explored}) == 2
    if not resample:
        assert {round(moved["train.lr"], 9) for moved in explored} == {round(9.9e-3 * 0.8, 9), 1e-2}


def test_the_space_of_the_project_s_params_can_be_searched(params: Params) -> None:
    assert suggest(params.tune, [], params.seed).keys() <= params.tune.space.keys()
