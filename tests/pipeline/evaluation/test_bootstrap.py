"""Bounds against independent reference computations, and against samples whose true difference is known."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from pipeline.evaluation.bootstrap import Interval, PairedSample, _Ratio, _Tail, bounds, interval, lowest, shown_interval


def sample(rng: np.random.Generator, scenes: int, variants: int = 1, shift: float = 0.0) -> PairedSample:
    """One dataset with ``variants`` images per scene. Most of the difference belongs to the scene."""
    unit = np.repeat(np.arange(scenes), variants)
    old = rng.normal(28, 4, scenes)[unit] + rng.normal(0, 1, len(unit))
    new = old + shift + rng.normal(0, 0.3, scenes)[unit] + rng.normal(0, 0.1, len(unit))
    return PairedSample.of(["rain"] * len(unit), [str(number) for number in unit], new, old)


def test_with_many_scenes_the_bound_is_the_normal_one() -> None:
    found = sample(np.random.default_rng(0), 400, shift=0.5)
    difference = found.new - found.old
    z = NormalDist().inv_cdf(0.9)
    expected = difference.mean() - z * difference.std(ddof=1) / np.sqrt(400)
    bound = bounds(found, 0.1, 0.9, 4000, 0)
    assert bound.overall.mean == pytest.approx(difference.mean(), abs=1e-9)
    assert bound.overall.low == pytest.approx(expected, abs=0.003)
    assert bound.datasets["rain"] == bound.overall
    assert bounds(found, 0.1, 0.9, 4000, 0) == bound, "seeded"


@pytest.mark.parametrize("scenes", [5, 12])
def test_the_level_holds_with_few_scenes_of_several_variants(scenes: int) -> None:
    """Equal models pass a bound of 0 in 5 of 100 samples, within chance. Drawing images instead of scenes passes far more."""
    passed = {"scene": 0, "image": 0}
    for world in range(200):
        found = sample(np.random.default_rng(world), scenes, 6)
        single = PairedSample(found.new, found.old, found.dataset, np.arange(len(found.new)), found.names)
        for by, drawn in (("scene", found), ("image", single)):
            passed[by] += bounds(drawn, 0.1, 0.95, 300, world).overall.low >= 0
    assert passed["scene"] <= 20, "10 are expected; more than 20 in one of 600 such tests"
    assert passed["image"] >= 30


def test_mean_and_standard_error_are_those_of_the_drawn_images() -> None:
    """Computed from the images of a resample one by one."""
    rng = np.random.default_rng(3)
    found = PairedSample.of(list("aaaabbbb"), list("ppqqpprr"), rng.normal(size=8), rng.normal(size=8))
    draw = np.array([[2.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    mean, error = _Ratio.of(found, np.ones(8, bool), [np.arange(3)]).estimate(draw)
    for row, times in enumerate(draw):
        units = np.repeat(np.arange(3), times.astype(int))
        each = [(found.new - found.old)[found.unit == unit] for unit in units]
        centre = np.concatenate(each).mean()
        residuals = np.array([(part - centre).sum() for part in each])
        spread = 3 / 2 * ((residuals - residuals.mean()) ** 2).sum()
        assert mean[row] == pytest.approx(centre)
        assert error[row] == pytest.approx(np.sqrt(spread) / sum(len(part) for part in each))


def test_the_tail_is_that_of_the_drawn_images() -> None:
    rng = np.random.default_rng(4)
    found = PairedSample.of(
        ["a"] * 10 + ["b"] * 5, [str(number // 2) for number in range(15)], rng.normal(size=15), np.zeros(15)
    )
    draw = rng.multinomial(8, np.full(8, 1 / 8), size=20).astype(float)
    means = _Tail.of(found.new, found, 0.25).mean(draw)
    for times, mean in zip(draw, means, strict=True):
        total = count = 0.0
        for dataset in (0, 1):
            scores = [
                score
                for score, unit, of in zip(found.new, found.unit, found.dataset, strict=True)
                for _ in range(int(times[unit]))
                if of == dataset
            ]
            parts = np.sort(np.repeat(scores, 4))[: len(scores)]  # a quarter of the images, counted in quarters of images
            total, count = total + parts.sum() / 4, count + len(parts) / 4
        assert mean == pytest.approx(total / count)


def test_strata_are_the_datasets_that_show_a_scene() -> None:
    scenes = [f"a{n}" for n in range(6)] + [f"ab{n}" for n in range(7)] * 2 + ["lone"]
    datasets = ["a"] * 13 + ["b"] * 7 + ["c"]
    found = PairedSample.of(datasets, scenes, np.zeros(21), np.zeros(21))
    assert sorted(len(group) for group in found.strata()) == [6, 8], "a single scene joins the largest group"
    assert sorted(np.concatenate(found.strata())) == list(range(found.units))
    assert (found.units_of("a"), found.units_of("c")) == (13, 1)
    few = PairedSample.of(list("abc"), list("xyz"), np.zeros(3), np.zeros(3))
    assert [len(group) for group in few.strata()] == [3]


def test_no_spread_gives_the_mean_and_two_scenes_give_no_bound() -> None:
    same = PairedSample.of(["a"] * 9, [str(n) for n in range(9)], np.full(9, 30.5), np.full(9, 30.0))
    assert bounds(same, 0.1, 0.95, 200, 0).overall.low == pytest.approx(0.5)
    two = PairedSample.of(["a"] * 2, ["x", "y"], np.array([31.0, 33.0]), np.array([30.0, 30.0]))
    assert bounds(two, 0.1, 0.95, 200, 0).overall.low == -np.inf


def test_with_many_scenes_the_interval_is_the_normal_one() -> None:
    found = sample(np.random.default_rng(1), 400, shift=0.5)
    difference = found.new - found.old
    half = NormalDist().inv_cdf(0.975) * difference.std(ddof=1) / np.sqrt(400)
    both = interval(found, 0.95, 4000, 0)
    assert both.mean == pytest.approx(difference.mean(), abs=1e-9)
    assert (both.low, both.high) == pytest.approx((difference.mean() - half, difference.mean() + half), abs=0.004)


def test_an_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    held = sum(
        (both := interval(sample(np.random.default_rng(world), 8, 3, 0.2), 0.9, 300, world)).low <= 0.2 <= both.high
        for world in range(200)
    )
    assert 164 <= held <= 198, "180 are expected; fewer or more in one of several thousand such tests"


def test_an_interval_of_few_scenes_is_unbounded_and_of_no_spread_a_point() -> None:
    few = PairedSample.of(["rain"] * 3, ["a", "b", "c"], np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert interval(few, 0.95, 100, 0) == Interval(2.0, -np.inf, np.inf)
    same = PairedSample.of(["rain"] * 8, list("abcdefgh"), np.full(8, 2.0), np.zeros(8))
    assert interval(same, 0.95, 100, 0) == Interval(2.0, 2.0, 2.0)


def test_the_lowest_of_several_means_and_its_bound() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0, 1, (3, 10)) + np.array([[3.0], [-1], [0]])
    row, bound = lowest(values, 0.95, 2000, 0)
    assert (row, bound.mean) == (1, values[1].mean())
    alone = np.sort([values[1][rng.integers(0, 10, 10)].mean() for _ in range(4000)])
    assert bound.low <= np.quantile(alone, 0.07), "the bound of the lowest row, and a little below it"
    assert bound.low >= alone[0]
    assert lowest(values, 0.95, 2000, 0)[1] == bound
    same = lowest(np.full((2, 8), -0.5), 0.95, 100, 0)[1]
    assert [same.mean, same.low] == pytest.approx([-0.5, -0.5])


def test_a_lowest_mean_at_the_boundary_seldom_passes() -> None:
    """5 of 100 are expected of an exact bound. This one is a percentile, and lets some more pass."""
    rng, passed = np.random.default_rng(1), 0
    for world in range(200):
        values = rng.normal(0, 0.3, 8) + rng.normal(0, 0.3, (20, 8))
        values[1:] += 1
        passed += lowest(values, 0.95, 400, world)[1].low >= 0
    assert passed / 200 <= 0.12


def test_an_interval_of_many_values_is_the_normal_one() -> None:
    values, zero = np.random.default_rng(1).normal(5, 2, 400), np.zeros(400)
    names = [str(number) for number in range(400)]
    found = shown_interval(values, zero, names)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.05)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05)
    assert shown_interval(values, zero, names) == found, "the same on each call"


def test_images_of_one_scene_add_no_certainty() -> None:
    """Each scene four times, with the same value: the interval stays that of the scenes, and is not half as wide."""
    values = np.random.default_rng(1).normal(5, 2, 50)
    once = shown_interval(values, np.zeros(50), [str(number) for number in range(50)])
    scenes = [str(number) for number in np.repeat(np.arange(50), 4)]
    again = shown_interval(np.repeat(values, 4), np.zeros(200), scenes)
    assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=0.1)
    few = shown_interval(values[:28], np.zeros(28), [str(number % 7) for number in range(28)])
    assert (few.low, few.high) == (-np.inf, np.inf), "28 images of 7 scenes"
