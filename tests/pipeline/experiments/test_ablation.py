"""The ablation's plan and arithmetic, compared with independent calculations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.config.params import read_params
from pipeline.config.recipe import flatten
from pipeline.evaluation.plots import seed_dots
from pipeline.experiments.ablation import Score, Trial, digest_of, lines, plan, variant_params
from rdmc.errors import ConfigError
from tests.support.ablation import FULL, LESS
from tests.support.data import tiny_params
from tests.support.imports import ROOT


def test_trials_are_paired_and_ordered_by_seed(trials: list[Trial]) -> None:
    assert [trial.name for trial in trials] == ["full/5", "one-pass/5", "full/1", "one-pass/1", "full/2", "one-pass/2"]
    for one, other in zip(trials[::2], trials[1::2], strict=True):
        assert (one.params.seed, one.params.train, one.params.loss) == (
            other.params.seed,
            other.params.train,
            other.params.loss,
        )
        assert [flatten(trial.params)["network.passes"] for trial in (one, other)] == [2, 1]
    assert len({trial.digest for trial in trials}) == 6
    again = digest_of(trials[0].params, "data", "code")
    assert again == trials[0].digest
    assert again not in {digest_of(trials[0].params, "other", "code"), digest_of(trials[0].params, "data", "other")}


def test_variants_of_the_project_can_be_built() -> None:
    params = read_params(ROOT / "params.yaml")
    assert next(iter(params.ablation.variants)) == "full"
    for trial in plan(params, "", ""):
        assert trial.params.train.steps == params.ablation.steps


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"network.widht": 9}, "network.widht: no such param"),
        ({"network.width": 0}, "network.width: 0 is below 1"),
        ({"network.width": "wide"}, "network.width: 'wide'"),
        ({"network.dilations": []}, r"network.dilations: \[\] is not"),
        ({"loss.levels": 9}, "loss.levels: 9 exceeds the 4 levels"),
        ({"train.steps": 9}, "train.steps: must be equal in all variants"),
        ({"train.crop": 32}, "train.crop: must be equal in all variants"),
        ({"seed": 9}, "seed: must be equal in all variants"),
        ({"datasets": {}}, "datasets: must be equal in all variants"),
        ({"train": {"steps": 9, "warmup_steps": 0}}, "train: changes steps, batch or crop"),
    ],
)
def test_a_variant_that_cannot_be_used_is_an_error_of_one_line(overrides: dict[str, Any], message: str) -> None:
    params = tiny_params({"ablation.variants": {"full": {}, "bad": overrides}})
    with pytest.raises(ConfigError, match=f"^ablation.variants.bad: .*{message}") as error:
        variant_params(params, "bad", 0)
    assert "\n" not in str(error.value)


def test_a_variant_can_replace_a_whole_part() -> None:
    params = tiny_params(
        {"ablation.variants": {"full": {}, "unet": {"network": {"kind": "unet", "width": 2}, "loss.levels": 1}}}
    )
    assert variant_params(params, "unet", 3).network.kind == "unet"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ablation.variants", {"full": {}}, "ablation.variants: .*at least 2"),
        ("ablation.variants", {"full": {}, "Bad Name": {}}, "ablation.variants.Bad Name"),
        ("ablation.variants", {"full": {}, "a": 1}, "ablation.variants.a: 1"),
        ("ablation.seeds", [], r"ablation.seeds: \[\]"),
        ("ablation.seeds", [1, 1], r"ablation.seeds: \[1, 1\]: No seed should be listed twice"),
        ("ablation.seeds", [-1], "ablation.seeds.0: -1"),
        ("ablation.steps", 0, "ablation.steps: 0"),
    ],
)
def test_bad_params_are_an_error_of_one_line(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        tiny_params({key: value})
    assert "\n" not in str(error.value)


def test_paired_differences_are_those_of_the_t_test(trials: list[Trial], scores: dict[str, Score]) -> None:
    full, less = lines(trials, scores)
    assert less.difference.values == pytest.approx((-0.5, -0.9, -0.3))
    assert less.difference.mean == pytest.approx(-0.566667, abs=1e-6)
    assert less.difference.deviation == pytest.approx(math.sqrt((0.0666667**2 + 0.3333333**2 + 0.2666667**2) / 2), abs=1e-6)
    known = stats.ttest_rel(LESS, FULL).confidence_interval()
    assert less.difference.interval() == pytest.approx((known.low, known.high))
    half = 4.302653 * less.difference.deviation / math.sqrt(3)  # t of 2 degrees of freedom, from a table
    assert less.difference.interval()[1] == pytest.approx(less.difference.mean + half, abs=1e-6)
    assert full.difference.values == (0, 0, 0)
    assert (full.psnr["overall"].mean, full.psnr["overall"].deviation) == pytest.approx((np.mean(FULL), np.std(FULL, ddof=1)))
    assert less.gain.mean == pytest.approx(less.psnr["overall"].mean - 23)


def test_only_complete_pairs_are_compared(trials: list[Trial], scores: dict[str, Score]) -> None:
    del scores["full/1"], scores["one-pass/2"]
    full, less = lines(trials, scores)
    assert (full.psnr["overall"].values, less.psnr["overall"].values) == ((28.0, 28.2), (27.5, 27.6))
    assert less.difference.values == pytest.approx((-0.5,))
    assert all(math.isnan(value) for value in (less.difference.deviation, *less.difference.interval()))
    (alone,) = lines(trials, {"one-pass/5": scores["one-pass/5"]})
    assert alone.difference.values == ()


def test_plot_has_a_row_for_each_variant() -> None:
    few, many = seed_dots({"full": FULL}), seed_dots({"full": FULL, "one-pass": LESS, "x": (20.0,)})
    assert few.dtype == np.uint8
    assert many.shape[0] > few.shape[0]
    assert many.shape[1] == few.shape[1]
