"""The results of a sweep as text: the table of its trials, trials.csv, best_params.yaml, and the command to train with them."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML

from pipeline.config.tune import Tune
from pipeline.experiments.sweep.algorithms import front
from pipeline.experiments.sweep.ledger import SweepTrial

SHOWN = 20
"""The most trials that the final table shows; trials.csv has all."""


def rows(tune: Tune, trials: Sequence[SweepTrial]) -> list[dict[str, Any]]:
    """A row per trial, by number: its chosen params, its last score, its state and, where it failed, the cause."""
    best = {trial.number for trial in front(tune, trials)}
    return [
        {
            "trial": trial.number,
            **{key: trial.chosen.get(key, "") for key in tune.space},
            **({"psnr_y": trial.score, "ssim_y": trial.rows[-1].get("ssim_y", "")} if trial.rows else {}),
            **({"gflop": trial.gflop, "on_front": trial.number in best} if "gflop" in tune.objectives else {}),
            "step": trial.step,
            "state": trial.state,
            **({"generation": trial.generation} if tune.algorithm == "pbt" else {}),
            **({"cause": trial.cause} if trial.cause else {}),
        }
        for trial in trials
    ]


def trials_csv(table: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV; a cell is empty where its trial did not search the param."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in table for key in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def best_params_yaml(overrides: Mapping[str, Any]) -> str:
    """The overrides as YAML, nested as in params.yaml."""
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(nested, text)
    return text.getvalue()


def command(overrides: Mapping[str, Any]) -> str:
    """The shell command that trains with these overrides."""
    return shlex.join(["dvc", "exp", "run", *(part for key, value in overrides.items() for part in ("-S", f"{key}={value}"))])


def lines(tune: Tune, trials: Sequence[SweepTrial]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the final table: first the front, then the other trials by score."""
    best = [trial.number for trial in front(tune, trials)]
    ranked = sorted(trials, key=lambda e: (best.index(e.number) if e.number in best else len(best), -(e.score or 0)))
    costs = "gflop" in tune.objectives
    header = ["trial", *tune.space, "PSNR-Y (dB)", *(["GFLOP", "front"] if costs else []), "steps", "state"]
    return header, [_line(tune, trial, best, costs) for trial in ranked[:SHOWN]]


def _line(tune: Tune, trial: SweepTrial, best: Sequence[int], costs: bool) -> list[str]:
    score = f"{trial.score:.2f}" if trial.score is not None else "-"
    cost = [f"{trial.gflop:.3g}" if trial.gflop is not None else "-", "*" if trial.number in best else ""] if costs else []
    values = [_shown(trial.chosen.get(key, "-")) for key in tune.space]
    return [str(trial.number), *values, score, *cost, str(trial.step), trial.state]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
