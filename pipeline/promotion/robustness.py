"""The gate's rules on robustness: what a model gains under rain of every kind, against a floor and against the champion.

Each rule is about the worst rain: the lowest of the rains' means over the photographs. Its lower bound, at the gate's
confidence, must reach a number. What is resampled is the photographs, each with its figures under every rain.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pipeline.config.registry import Gate
from pipeline.console import progress_bar
from pipeline.evaluation.bootstrap import lowest
from pipeline.evaluation.model_figures import ModelFigures
from pipeline.evaluation.rain_maps import clean_photographs, count, rain_cells
from pipeline.promotion.gate import Check
from rdmc.errors import CheckpointError
from rdmc.models.base import Restorer

Gains = Mapping[str, tuple[float, ...]]
"""Rain -> gain in PSNR-Y (dB) of each photograph."""


def rain_gains(network: Restorer | None, label: str, rules: Gate, seed: int, device: torch.device) -> Gains:
    """The gains of a model under every rain.

    Empty if the rule is off, for the rainy input (None), and for a model whose output is not finite. Raises DataError if the
    photographs are missing.
    """
    if network is None or not rules.robustness.images:
        return {}
    photographs = clean_photographs(rules.robustness.images)
    try:
        with progress_bar(f"robustness of {label}", count()) as advance:
            cells = rain_cells(network, photographs, seed, device, advance)
    except CheckpointError:
        return {}
    return {shape.words: cell.gains for shape, cell in cells.items()}


def robustness_checks(challenger: ModelFigures, champion: ModelFigures, rules: Gate, seed: int) -> list[Check]:
    """The two rules; none if they are off. Without gains of a champion, as for a first one, the floor alone is asked.

    Args:
        challenger: figures of the new model.
        champion: figures of the champion or of the rainy input.
        rules: the ``gate`` section of params.yaml.
        seed: of the bootstrap.
    """
    asked = rules.robustness
    if not asked.images:
        return []
    if not challenger.rains:
        return [Check("robustness floor", False, "robustness: its output is not finite under one of the rains")]
    floor = _lowest("robustness floor", "gain", challenger.rains, asked.floor, rules, seed)
    if not champion.rains:
        return [floor]
    above = {
        rain: tuple(new - old for new, old in zip(gains, champion.rains[rain], strict=True))
        for rain, gains in challenger.rains.items()
    }
    return [floor, _lowest("robustness", "against the champion", above, -asked.tolerance, rules, seed)]


def _lowest(name: str, what: str, values: Gains, least: float, rules: Gate, seed: int) -> Check:
    """Check the lower bound of the lowest mean of all rains."""
    rains, found = list(values), np.array(list(values.values()))
    row, bound = lowest(found, rules.confidence, rules.resamples, seed)
    said = (
        f"{name} {bound.mean:+.2f} dB ({what} under {rains[row]}, the lowest of {len(rains)} rains; over {found.shape[1]} "
        f"photographs at least {bound.low:+.2f} with {100 * rules.confidence:g}% confidence; needed {least:+.2f})"
    )
    return Check(name, bound.low >= least, said, bound.mean, bound.low, least)
