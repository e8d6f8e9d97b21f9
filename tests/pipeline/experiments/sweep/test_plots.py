"""The pictures of a sweep: their pixels follow the trials."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from pipeline.evaluation.plots import BLUE, ORANGE, Image
from pipeline.experiments.sweep.plots import height_of, history, importance, importance_bars, pictures, ticks_of
from tests.support.sweep import SPACE, sweep_of, swept

TUNE = swept(objectives=["psnr_y", "gflop"]).tune


def coloured(picture: Image, colour: str, alpha: float = 1.0) -> int:
    """The number of pixels with a colour drawn over white at ``alpha``."""
    expected = 255 * (alpha * np.asarray(to_rgb(colour)) + 1 - alpha)
    return int((np.abs(picture.astype(float) - expected).max(-1) < 4).sum())


def test_each_picture_is_drawn_where_the_trials_allow_it() -> None:
    trials = sweep_of(24)
    drawn = pictures(TUNE, trials)
    assert set(drawn) == {"parallel_coordinates.png", "history.png", "importance.png", "front.png"}
    assert all(picture.std() > 5 for picture in drawn.values())
    assert pictures(TUNE, trials[:1]) == {}, "the only trial failed"
    assert "importance.png" not in pictures(TUNE, trials[:3])
    assert "front.png" not in pictures(swept().tune, trials)


@pytest.mark.parametrize("name", ["parallel_coordinates.png", "history.png", "front.png"])
def test_another_score_is_another_picture(name: str) -> None:
    trials = sweep_of(6)
    drawn = pictures(TUNE, trials)[name]
    assert np.array_equal(drawn, pictures(TUNE, deepcopy(trials))[name])
    trials[3].rows[-1]["psnr_y"] -= 2
    changed = pictures(TUNE, trials)[name]
    assert changed.shape != drawn.shape or not np.array_equal(drawn, changed)


def test_history_marks_trials_that_were_stopped_early() -> None:
    trials = sweep_of(6)
    assert coloured(history(trials), ORANGE) == 0
    blue = coloured(history(trials), BLUE)
    for trial in trials[1:4]:
        trial.state = "stopped early"
    assert coloured(history(trials), ORANGE) > 20
    assert 0 < coloured(history(trials), BLUE) < blue


def test_bars_grow_with_the_importance() -> None:
    equal, unequal = (importance_bars({"train.lr": 1.0, "loss.prior": share}) for share in (1.0, 0.1))
    assert coloured(unequal, BLUE, 0.75) == pytest.approx(0.55 * coloured(equal, BLUE, 0.75), rel=0.1)


def test_importance_is_that_of_the_params_that_all_trials_searched() -> None:
    weights = importance(TUNE, [trial for trial in sweep_of(24) if trial.rows])
    assert set(weights) == {"train.lr", "loss.prior"}
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["train.lr"] > 0.8 > 0.2 > weights["loss.prior"]


def test_axes_follow_their_domains() -> None:
    space = swept(space={**SPACE, "network.width": {"integer": [2, 6]}, "loss.ssim": {"uniform": [0.0, 0.5]}}).tune.space
    assert height_of(space["train.lr"], 1e-3) == pytest.approx(0.5)
    assert height_of(space["network.width"], 3) == 0.25
    assert height_of(space["loss.ssim"], 0.4) == pytest.approx(0.8)
    assert ticks_of(space["loss.prior"]) == [(0, "ratio"), (1, "infonce")]
    assert ticks_of(space["train.lr"]) == [(0, "0.0001"), (1, "0.01")]
