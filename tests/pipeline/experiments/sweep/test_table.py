"""The results of a sweep as text: exact rows, CSV, overrides and the command."""

from __future__ import annotations

import csv

from ruamel.yaml import YAML

from pipeline.experiments.sweep.ledger import SweepTrial
from pipeline.experiments.sweep.table import SHOWN, best_params_yaml, command, lines, rows, trials_csv
from tests.support.sweep import SPACE, sweep_of, swept

TRIALS = [
    SweepTrial(
        0, {"train.lr": 0.001, "loss.prior": "ratio"}, 2.0, "finished", rows=[{"step": 8.0, "psnr_y": 25.0, "ssim_y": 0.8}]
    ),
    SweepTrial(1, {"train.lr": 0.01, "loss.prior": "infonce", "loss.temperature": 0.1}, 3.0, "failed", "loss nan"),
    SweepTrial(2, {"train.lr": 0.0002, "loss.prior": "ratio"}, 1.0, "stopped early", rows=[{"step": 2.0, "psnr_y": 21.5}]),
    SweepTrial(3, {"train.lr": 0.003, "loss.prior": "ratio"}, 4.0, "stopped early", rows=[{"step": 2.0, "psnr_y": 24.0}]),
]


def test_csv_has_a_row_per_trial_with_its_params_score_and_cause() -> None:
    assert trials_csv(rows(swept().tune, TRIALS)).splitlines() == [
        "trial,train.lr,loss.prior,loss.temperature,psnr_y,ssim_y,step,state,cause",
        "0,0.001,ratio,,25.0,0.8,8,finished,",
        "1,0.01,infonce,0.1,,,0,failed,loss nan",
        "2,0.0002,ratio,,21.5,,2,stopped early,",
        "3,0.003,ratio,,24.0,,2,stopped early,",
    ]


def test_cost_and_front_are_shown_where_cost_is_an_objective() -> None:
    tune = swept(objectives=["psnr_y", "gflop"]).tune
    read = list(csv.DictReader(trials_csv(rows(tune, TRIALS)).splitlines()))
    assert [row["on_front"] for row in read] == ["True", "False", "True", "False"]
    header, cells = lines(tune, TRIALS)
    assert header == ["trial", *SPACE, "PSNR-Y (dB)", "GFLOP", "front", "steps", "state"]
    assert cells == [
        ["0", "0.001", "ratio", "-", "25.00", "2", "*", "8", "finished"],
        ["2", "0.0002", "ratio", "-", "21.50", "1", "*", "2", "stopped early"],
        ["3", "0.003", "ratio", "-", "24.00", "4", "", "2", "stopped early"],
        ["1", "0.01", "infonce", "0.1", "-", "3", "", "0", "failed"],
    ]


def test_with_one_objective_trials_are_ranked_by_score() -> None:
    header, cells = lines(swept().tune, TRIALS)
    assert header == ["trial", *SPACE, "PSNR-Y (dB)", "steps", "state"]
    assert [row[0] for row in cells] == ["0", "3", "2", "1"]


def test_a_member_of_a_population_shows_its_generation() -> None:
    tune = swept(algorithm="pbt", space={"train.lr": SPACE["train.lr"]}).tune
    member = SweepTrial(0, {"train.lr": 0.001}, state="finished", generation=3)
    assert rows(tune, [member]) == [{"trial": 0, "train.lr": 0.001, "step": 0, "state": "finished", "generation": 3}]


def test_the_table_is_bounded_and_the_csv_is_not() -> None:
    trials = sweep_of(SHOWN + 4)
    assert len(lines(swept().tune, trials)[1]) == SHOWN
    assert len(trials_csv(rows(swept().tune, trials)).splitlines()) == SHOWN + 5


def test_best_params_are_nested_as_in_params_yaml() -> None:
    chosen = {"train.lr": 0.001, "train.crop": 64, "loss.ssim": 0.2}
    assert YAML(typ="safe", pure=True).load(best_params_yaml(chosen)) == {
        "train": {"lr": 0.001, "crop": 64},
        "loss": {"ssim": 0.2},
    }


def test_the_command_is_quoted_for_a_shell() -> None:
    assert command({"train.lr": 0.001, "loss.ssim": 0.2}) == "dvc exp run -S train.lr=0.001 -S loss.ssim=0.2"
    assert command({"architecture": "my nets/a"}) == "dvc exp run -S 'architecture=my nets/a'"
