"""Params, ledgers and trials of small sweeps for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.params import Params
from pipeline.experiments.sweep.ledger import Ledger, SweepTrial
from pipeline.storage.runs import RunFiles
from tests.support.data import tiny_params

SPACE: dict[str, Any] = {
    "train.lr": {"loguniform": [1e-4, 1e-2]},
    "loss.prior": {"choice": ["ratio", "infonce"]},
    "loss.temperature": {"loguniform": [0.03, 0.3], "when": {"loss.prior": "infonce"}},
}


def swept(**changes: Any) -> Params:
    """Params with a sweep of eight short trials over ``SPACE``, with ``changes`` to its section."""
    section = {"trials": 8, "steps": 8, "grace_steps": 2, "space": SPACE} | changes
    return tiny_params({"train.validate_every": 2} | {f"tune.{key}": value for key, value in section.items()})


def plain(params: Params) -> dict[str, Any]:
    """The params as a ledger stores them."""
    return params.model_dump(mode="json", by_alias=True)


def new_ledger(params: Params, folder: Path, name: str = "tune-1") -> Ledger:
    """A ledger without trials, in its own folder below ``folder``."""
    return Ledger(name, plain(params), "data", "code", RunFiles(f"{folder}/{name}", None))


def sweep_of(count: int) -> list[SweepTrial]:
    """Trials whose PSNR-Y depends on the learning rate alone; the first has failed, the others have finished."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        chosen: dict[str, Any] = {
            "train.lr": float(10 ** rng.uniform(-4, -2)),
            "loss.prior": str(rng.choice(["ratio", "infonce"])),
        }
        if chosen["loss.prior"] == "infonce":
            chosen["loss.temperature"] = float(rng.uniform(0.03, 0.3))
        score = 25 - abs(float(np.log10(chosen["train.lr"])) + 3) * 5
        rows = [{"step": 4.0, "psnr_y": score, "ssim_y": 0.7}]
        trials.append(SweepTrial(number, chosen, 1.0 + number % 3, "finished", rows=rows))
    trials[0].state, trials[0].rows, trials[0].cause = "failed", [], "loss nan"
    return trials
