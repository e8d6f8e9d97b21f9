"""Means, intervals and ranks of a leaderboard, against figures made here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.comparison.entrants import Entrant
from pipeline.comparison.leaderboard import board
from pipeline.comparison.measure import Outcome
from pipeline.comparison.sets import PairSet, pair_sets
from rdmc.quality.conventions import NAMES, Fidelity
from tests.support.comparison import pair_folder, small_network

FIRST, SECOND, LAST = Entrant("first", "", "1", small_network()), Entrant("second", "", "2"), Entrant("last", "", "3")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    return pair_sets([str(pair_folder(tmp_path_factory.mktemp("data"), 8))], None)[0]


def made(psnr: Sequence[float], seconds: float = 0.5) -> list[Outcome]:
    """Outcomes with these PSNRs under every convention; NaN is a failure."""
    return [
        Outcome({}, 0.0, "not finite") if math.isnan(one) else Outcome(dict.fromkeys(NAMES, Fidelity(one, 0.9)), seconds)
        for one in psnr
    ]


def test_the_best_is_first_and_differences_are_on_the_same_images(data: PairSet) -> None:
    low, high = [20.0, 21, 22, 23, 24, 25, 24, 23], [21.0, 22.5, 22.9, 24, 25.1, 26, 25, 24.2]
    found = board(data, [FIRST, SECOND], {"first": made(low), "second": made(high)})
    assert [standing.label for standing in found.standings] == ["second", "first"]
    second, first = found.standings
    assert second.means["y"].psnr == pytest.approx(np.mean(high))
    assert second.to_first["y"].mean == pytest.approx(np.mean(high) - np.mean(low))
    assert second.to_first["y"].low > 0, "every image is better, so the interval excludes zero"
    assert second.psnr["y"].low < 23.8 < second.psnr["y"].high
    assert first.to_first == {}
    assert (first.seconds, second.seconds) == (0.5, None), "only a network takes time"
    assert (found.scenes, found.images[0]) == (8, "0")


def test_identical_and_failed_images_are_counted_and_in_no_mean(data: PairSet) -> None:
    psnr = [20.0, math.inf, 22, math.nan, 24, 26, 23, 23]
    found = board(data, [FIRST, LAST], {"first": made([20.0] * 8), "last": made(psnr)})
    standing = next(one for one in found.standings if one.label == "last")
    assert standing.means["y"].psnr == pytest.approx(23.0)
    assert (standing.means["y"].images, standing.means["y"].identical) == (7, 1)
    assert standing.failures == {"3": "not finite"}
    assert standing.to_first["y"].mean == pytest.approx(3.0)


def test_a_model_that_failed_on_every_image_is_last(data: PairSet) -> None:
    found = board(data, [FIRST, LAST], {"first": made([20.0] * 8), "last": made([math.nan] * 8)})
    assert [standing.label for standing in found.standings] == ["first", "last"]
    assert found.standings[1].means == {}
    assert len(found.standings[1].failures) == 8


def test_outputs_that_are_all_identical_have_an_infinite_mean_and_no_interval(data: PairSet, tmp_path: Path) -> None:
    found = board(data, [FIRST, LAST], {"first": made([20.0] * 8), "last": made([math.inf] * 8)})
    assert found.standings[0].label == "last"
    assert found.standings[0].means["y"].psnr == math.inf
    assert found.standings[0].psnr == {}


def test_perceptual_means_are_over_the_images_that_have_them(data: PairSet) -> None:
    low, high = [0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1, 0.2], [0.2, 0.4, 0.5, 0.5, 0.4, 0.4, 0.3]
    first = [replace(one, perceptual={"DISTS": value}) for one, value in zip(made([20.0] * 8), low, strict=True)]
    others = made([21.0] * 8)
    second = [*(replace(one, perceptual={"DISTS": value}) for one, value in zip(others, high, strict=False)), others[7]]
    found = {one.label: one for one in board(data, [FIRST, SECOND], {"first": first, "second": second}).standings}
    mine, theirs = found["first"].perceptual["DISTS"], found["second"].perceptual["DISTS"]
    assert (mine.images, mine.to_first) == (8, None)
    assert mine.mean.mean == pytest.approx(np.mean(low))
    assert theirs.images == 7
    assert theirs.mean.mean == pytest.approx(np.mean(high))
    assert theirs.to_first
    assert theirs.to_first.mean == pytest.approx(np.mean(high) - np.mean(low[:7])), "on the images that both have"
    assert board(data, [FIRST], {"first": made([20.0] * 8)}).standings[0].perceptual == {}
