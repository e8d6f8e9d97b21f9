"""The ablation's table for the terminal, for docs/ and for MLflow."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

from pipeline.config.params import Params
from pipeline.evaluation.pages import markdown_table
from pipeline.experiments.ablation import Figures, Line, Score, Spread, Trial
from rdmc.models.cost import SIDE

MARKERS = "ablation"
"""Name of the markers between which `python -m pipeline ablate --write FILE` writes the table."""


def header(variants: Sequence[Line]) -> list[str]:
    """The names of the columns; differences are against the first variant."""
    datasets = [name for name in variants[0].psnr if name != "overall"]
    quality = ["PSNR-Y, dB", *datasets, "SSIM-Y", "gain, dB"]
    return ["variant", *quality, f"against {variants[0].variant}, dB", "95 % interval", "parameters", "GFLOP", "seconds"]


def rows(variants: Sequence[Line]) -> list[list[str]]:
    """The cells of the table, a row per variant."""
    return [_row(line, line is not variants[0]) for line in variants]


def _row(line: Line, compared: bool) -> list[str]:
    low, high = line.difference.interval()
    return [
        line.variant,
        *(plus_minus(values) for values in line.psnr.values()),
        plus_minus(line.ssim, ".4f"),
        plus_minus(line.gain, "+z.2f"),
        plus_minus(line.difference, "+z.2f") if compared and line.difference.values else "-",
        f"{low:+z.2f} … {high:+z.2f}" if compared and not math.isnan(low) else "-",
        f"{line.parameters:,}",
        f"{line.gflop:.2f}",
        f"{line.seconds.mean:.0f}",
    ]


def plus_minus(values: Spread, form: str = ".2f") -> str:
    """The mean and, for two values or more, their standard deviation, in the format ``form``."""
    spread = "" if math.isnan(values.deviation) else f" ± {values.deviation:{form.removeprefix('+')}}"
    return f"{values.mean:{form}}{spread}"


def rainy_row(figures: Figures, columns: Sequence[str]) -> list[str]:
    """The row of the rainy test images: the baseline of all other rows, padded with "-" to the number of columns."""
    groups = ["overall", *(name for name in figures if name != "overall")]
    known = [f"{figures[group]['rainy']['psnr_y']:.2f}" for group in groups] + [f"{figures['overall']['rainy']['ssim_y']:.4f}"]
    return ["(rainy)", *known, *["-"] * (len(columns) - 1 - len(known))]


def conditions(params: Params, trials: Sequence[Trial], scores: Mapping[str, Score], commit: str) -> str:
    """The conditions under which the figures were measured, as a paragraph wrapped at 128 characters."""
    train, rules = params.train, params.ablation
    figures = next(iter(scores.values())).figures
    images = ", ".join(f"{name} {group['images']}" for name, group in figures.items() if name != "overall")
    machines = "; ".join(sorted({score.machine for score in scores.values()}))
    seeds = ", ".join(map(str, rules.seeds))
    missing = [trial.name for trial in trials if trial.name not in scores]
    text = (
        f"Each variant: {rules.steps} steps of {train.global_batch_size} crops of {train.crop}x{train.crop} pixels, with "
        f"each of the seeds {seeds}; with a seed, every variant sees the same crops in the same order. Whole test images "
        f"({images}), averaged weights of the last step. ± is the standard deviation over seeds; differences are taken "
        f"seed by seed, their interval is that of the paired t-test. GFLOP: one {SIDE}x{SIDE} image, all passes. Seconds: in "
        f"training steps, {rules.concurrent} trials at once, on {machines}. Commit {commit}."
        + (f" Missing, because they failed or have not run: {', '.join(missing)}." if missing else "")
    )
    return textwrap.fill(text, 128, break_long_words=False, break_on_hyphens=False)


def markdown(columns: Sequence[str], cells: Sequence[Sequence[str]], below: str, picture: str) -> str:
    """The table, its conditions and the plot as Markdown; ``picture`` is the plot's path relative to the table's file."""
    plot = f"![Test PSNR-Y of each variant: a dot per seed, a line at the mean]({picture})"
    return f"{markdown_table(columns, cells)}\n\n{below}\n\n{plot}\n"
