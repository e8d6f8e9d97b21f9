"""The ablation's plan, arithmetic and table, against figures worked out another way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.config.params import read_params
from pipeline.config.recipe import flatten
from pipeline.evaluation.plots import seed_dots
from pipeline.experiments.ablation import Score, Spread, Trial, digest_of, lines, plan, variant_params
from pipeline.experiments.ablation_table import (
    BEGIN,
    END,
    between_markers,
    conditions,
    header,
    markdown,
    plus_minus,
    rainy_row,
    rows,
)
from rdmc.errors import ConfigError
from tests.support.data import tiny_params
from tests.support.imports import ROOT

FULL = (28.0, 28.5, 28.2)
LESS = (27.5, 27.6, 27.9)


def figures(psnr: float) -> dict[str, Any]:
    rainy = {"psnr_y": 23.0, "ssim_y": 0.75}

    def group(value: float) -> dict[str, Any]:
        return {"rainy": rainy, "derained": {"psnr_y": value, "ssim_y": value / 40}, "gain_psnr_y": value - 23, "images": 4}

    return {"light": group(psnr + 2), "heavy": group(psnr - 2), "overall": group(psnr)}


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    variants = {"full": {}, "one-pass": {"network.passes": 1}}
    return plan(tiny_params({"ablation.variants": variants, "ablation.seeds": [5, 1, 2]}), "data", "code")


@pytest.fixture
def scores() -> dict[str, Score]:
    full = {f"full/{seed}": Score(figures(value), 100, "2 CPU cores") for seed, value in zip((5, 1, 2), FULL, strict=True)}
    less = {f"one-pass/{seed}": Score(figures(value), 50, "2 CPU cores") for seed, value in zip((5, 1, 2), LESS, strict=True)}
    return {**less, **full}


def test_trials_are_paired_and_go_seed_by_seed(trials: list[Trial]) -> None:
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
        ({"loss.levels": 9}, "loss.levels: 9 exceeds the 5 levels"),
        ({"train.steps": 9}, "train.steps: is alike in all variants"),
        ({"train.crop": 32}, "train.crop: is alike in all variants"),
        ({"seed": 9}, "seed: is alike in all variants"),
        ({"datasets": {}}, "datasets: is alike in all variants"),
        ({"train": {"steps": 9, "warmup_steps": 0}}, "train: changes steps, batch or crop"),
    ],
)
def test_variant_that_cannot_be_used_is_one_line(overrides: dict[str, Any], message: str) -> None:
    params = tiny_params({"ablation.variants": {"full": {}, "bad": overrides}})
    with pytest.raises(ConfigError, match=f"^ablation.variants.bad: .*{message}") as error:
        variant_params(params, "bad", 0)
    assert "\n" not in str(error.value)


def test_a_whole_part_can_be_another() -> None:
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
        ("ablation.seeds", [1, 1], r"ablation.seeds: \[1, 1\]: No seed should stand twice"),
        ("ablation.seeds", [-1], "ablation.seeds.0: -1"),
        ("ablation.steps", 0, "ablation.steps: 0"),
    ],
)
def test_params_are_refused_in_one_line(key: str, value: Any, message: str) -> None:
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


def test_only_pairs_that_are_whole_are_compared(trials: list[Trial], scores: dict[str, Score]) -> None:
    del scores["full/1"], scores["one-pass/2"]
    full, less = lines(trials, scores)
    assert (full.psnr["overall"].values, less.psnr["overall"].values) == ((28.0, 28.2), (27.5, 27.6))
    assert less.difference.values == pytest.approx((-0.5,))
    assert all(math.isnan(value) for value in (less.difference.deviation, *less.difference.interval()))
    (alone,) = lines(trials, {"one-pass/5": scores["one-pass/5"]})
    assert alone.difference.values == ()


def test_table_says_it_all(trials: list[Trial], scores: dict[str, Score]) -> None:
    found = lines(trials, scores)
    columns = header(found)
    cells = [rainy_row(scores["full/5"].figures, columns), *rows(found)]
    assert {len(row) for row in cells} == {len(columns)}
    less = dict(zip(columns, cells[2], strict=True))
    assert less["PSNR-Y, dB"] == "27.67 ± 0.21"
    assert (less["light"], less["heavy"]) == ("29.67 ± 0.21", "25.67 ± 0.21")
    assert less["against full, dB"] == "-0.57 ± 0.31"
    assert less["95 % interval"] == "-1.33 … +0.19"
    assert (less["gain, dB"], less["seconds"]) == ("+4.67 ± 0.21", "50")
    assert cells[1][columns.index("against full, dB")] == "-"
    assert cells[0][:5] == ["(rainy)", "23.00", "23.00", "23.00", "0.7500"]
    params = tiny_params({"ablation.seeds": [5, 1, 2], "ablation.steps": 40})
    below = " ".join(conditions(params, trials, {"full/5": scores["full/5"]}, "abc").splitlines())
    for said in ("40 steps of 4 crops of 32x32", "5, 1, 2", "light 4, heavy 4", "2 CPU cores", "abc", "one-pass/5, full/1"):
        assert said in below
    assert "Missing" not in conditions(params, trials, scores, "abc")
    text = markdown(columns, cells, below, "plot.png")
    table = text.split("\n\n")[0].splitlines()
    assert len(table) == 5
    assert {line.count("|") for line in table} == {len(columns) + 1}
    assert "](plot.png)" in text


def test_one_seed_has_no_spread() -> None:
    assert plus_minus(Spread((28.0,))) == "28.00"
    assert plus_minus(Spread((1.0, 2.0)), "+z.1f") == "+1.5 ± 0.7"
    assert plus_minus(Spread((-0.001,)), "+z.2f") == "+0.00"


def test_table_takes_its_place_between_the_markers() -> None:
    text = between_markers(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new\n", "page.md")
    assert text == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert between_markers(text, "new\n", "page.md") == text
    for bad in ("", BEGIN, f"{END}{BEGIN}"):
        with pytest.raises(ConfigError, match=r"^page\.md: needs"):
            between_markers(bad, "new\n", "page.md")
    assert between_markers((ROOT / "docs/ablation.md").read_text(), "", "docs/ablation.md")


def test_plot_has_a_row_for_each_variant() -> None:
    few, many = seed_dots({"full": FULL}), seed_dots({"full": FULL, "one-pass": LESS, "x": (20.0,)})
    assert few.dtype == np.uint8
    assert many.shape[0] > few.shape[0]
    assert many.shape[1] == few.shape[1]
