"""What a sweep ends with: the table of its trials, trials.csv, best_params.yaml, the command that trains with them."""

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
"""Trials in the table at the end; trials.csv has all."""


def rows(tune: Tune, entries: Sequence[SweepTrial]) -> list[dict[str, Any]]:
    """Every trial, by number: what was chosen, its last score, how it ended and, where it failed, of what."""
    best = {entry.number for entry in front(tune, entries)}
    return [
        {
            "trial": entry.number,
            **{key: entry.chosen.get(key, "") for key in tune.space},
            **({"psnr_y": entry.score, "ssim_y": entry.rows[-1].get("ssim_y", "")} if entry.rows else {}),
            **({"gflop": entry.gflop, "on_front": entry.number in best} if "gflop" in tune.objectives else {}),
            "step": entry.step,
            "state": entry.state,
            **({"generation": entry.generation} if tune.algorithm == "pbt" else {}),
            **({"cause": entry.cause} if entry.cause else {}),
        }
        for entry in entries
    ]


def trials_csv(table: Sequence[Mapping[str, Any]]) -> str:
    """A line per trial; what a trial did not search is empty."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in table for key in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def best_params_yaml(overrides: Mapping[str, Any]) -> str:
    """The overrides as the nested YAML they are in params.yaml."""
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
    """The command that trains with them, for a shell."""
    return shlex.join(["dvc", "exp", "run", *(part for key, value in overrides.items() for part in ("-S", f"{key}={value}"))])


def lines(tune: Tune, entries: Sequence[SweepTrial]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table at the end: the front first, then by score."""
    best = [entry.number for entry in front(tune, entries)]
    ranked = sorted(entries, key=lambda e: (best.index(e.number) if e.number in best else len(best), -(e.score or 0)))
    costs = "gflop" in tune.objectives
    header = ["trial", *tune.space, "PSNR-Y (dB)", *(["GFLOP", "front"] if costs else []), "steps", "state"]
    return header, [_line(tune, entry, best, costs) for entry in ranked[:SHOWN]]


def _line(tune: Tune, entry: SweepTrial, best: Sequence[int], costs: bool) -> list[str]:
    score = f"{entry.score:.2f}" if entry.score is not None else "-"
    cost = [f"{entry.gflop:.3g}" if entry.gflop is not None else "-", "*" if entry.number in best else ""] if costs else []
    values = [_shown(entry.chosen.get(key, "-")) for key in tune.space]
    return [str(entry.number), *values, score, *cost, str(entry.step), entry.state]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
