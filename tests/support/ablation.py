"""An ablation of two variants and three seeds with known figures."""

from __future__ import annotations

from typing import Any

from pipeline.experiments.ablation import Score, Trial, plan
from tests.support.data import tiny_params

SEEDS = (5, 1, 2)
FULL = (28.0, 28.5, 28.2)
"""Overall PSNR-Y of the variant ``full`` for each seed, dB."""
LESS = (27.5, 27.6, 27.9)
"""Overall PSNR-Y of the variant ``one-pass`` for each seed, dB."""


def figures(psnr: float) -> dict[str, Any]:
    """Means per dataset and overall, as ``pipeline.evaluation.evaluator.summary`` returns them."""
    rainy = {"psnr_y": 23.0, "ssim_y": 0.75}

    def group(value: float) -> dict[str, Any]:
        return {"rainy": rainy, "derained": {"psnr_y": value, "ssim_y": value / 40}, "gain_psnr_y": value - 23, "images": 4}

    return {"light": group(psnr + 2), "heavy": group(psnr - 2), "overall": group(psnr)}


def two_variants() -> list[Trial]:
    """The trials of both variants with each seed."""
    variants = {"full": {}, "one-pass": {"network.passes": 1}}
    return plan(tiny_params({"ablation.variants": variants, "ablation.seeds": list(SEEDS)}), "data", "code")


def known_scores() -> dict[str, Score]:
    """The result of each trial by its name."""
    full = {f"full/{seed}": Score(figures(value), 100, "2 CPU cores") for seed, value in zip(SEEDS, FULL, strict=True)}
    less = {f"one-pass/{seed}": Score(figures(value), 50, "2 CPU cores") for seed, value in zip(SEEDS, LESS, strict=True)}
    return {**less, **full}
