"""The ablation's table: exact cells, its conditions, and its place in a file."""

from __future__ import annotations

from pipeline.experiments.ablation import Score, Spread, Trial, lines
from pipeline.experiments.ablation_table import (
    conditions,
    header,
    markdown,
    plus_minus,
    rainy_row,
    rows,
)
from rdmc.models.cost import SIDE, cost
from tests.support.data import tiny_params


def test_cells_are_the_means_and_deviations_of_each_variant(trials: list[Trial], scores: dict[str, Score]) -> None:
    variants = lines(trials, scores)
    columns = header(variants)
    assert columns[:6] == ["variant", "PSNR-Y, dB", "light", "heavy", "SSIM-Y", "gain, dB"]
    assert columns[6:] == ["against full, dB", "95 % interval", "parameters", "GFLOP", "seconds"]
    full, less = rows(variants)
    price = cost(trials[1].params.network)
    assert less[:6] == ["one-pass", "27.67 ± 0.21", "29.67 ± 0.21", "25.67 ± 0.21", "0.6917 ± 0.0052", "+4.67 ± 0.21"]
    assert less[6:] == ["-0.57 ± 0.31", "-1.33 … +0.19", f"{price.parameters:,}", f"{price.gflop:.2f}", "50"]
    assert full[6:8] == ["-", "-"], "the first variant is not compared with itself"
    rainy = rainy_row(scores["full/5"].figures, columns)
    assert rainy == ["(rainy)", "23.00", "23.00", "23.00", "0.7500", *["-"] * 6]


def test_conditions_name_steps_seeds_images_machines_and_missing_trials(trials: list[Trial], scores: dict[str, Score]) -> None:
    params = tiny_params({"ablation.seeds": [5, 1, 2], "ablation.steps": 40})
    below = " ".join(conditions(params, trials, {"full/5": scores["full/5"]}, "abc").splitlines())
    parts = ("40 steps of 4 crops of 32x32", "5, 1, 2", "light 4, heavy 4", "2 CPU cores", "abc", "one-pass/5, full/1")
    assert [part for part in (*parts, f"one {SIDE}x{SIDE} image") if part not in below] == []
    complete = conditions(params, trials, scores, "abc")
    assert "Missing" not in complete
    assert max(map(len, complete.splitlines())) <= 128


def test_markdown_has_every_row_and_the_plot() -> None:
    text = markdown(["variant", "dB"], [["full", "28.00"], ["one-pass", "27.50"]], "Conditions.", "plot.png")
    table = "| variant | dB |\n| --- | ---: |\n| full | 28.00 |\n| one-pass | 27.50 |\n"
    plot = "![Test PSNR-Y of each variant: a dot per seed, a line at the mean](plot.png)\n"
    assert text == f"{table}\nConditions.\n\n{plot}"


def test_one_seed_has_no_spread() -> None:
    assert plus_minus(Spread((28.0,))) == "28.00"
    assert plus_minus(Spread((1.0, 2.0)), "+z.1f") == "+1.5 ± 0.7"
    assert plus_minus(Spread((-0.001,)), "+z.2f") == "+0.00"
