"""Measure models on the same images under every convention. Each image is read once and given to every model in turn.

Finished images are in a journal for each model and dataset, so a command that was killed goes on where it stopped, and a
further model is measured alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.comparison.entrants import Entrant
from pipeline.comparison.sets import PairSet
from pipeline.console import track
from pipeline.evaluation.computer import computer
from pipeline.evaluation.journal import ImageJournal, network_digest
from rdmc.data.loader import Pair
from rdmc.errors import CheckpointError, DataError, one_line
from rdmc.inference import derain_values
from rdmc.models.base import Restorer
from rdmc.quality.conventions import Fidelity, scores, whole_levels
from rdmc.quality.perceptual import SMALLEST, PerceptualMeasure

WARM_UP = np.full((64, 64, 3), 128, np.uint8)
"""An image that each network derains first, so that no image's time has the work of the first pass."""


@dataclass(frozen=True)
class Outcome:
    """The result of one model on one image."""

    figures: Mapping[str, Fidelity]
    """By the name of the convention; empty if it failed."""
    seconds: float
    """To derain the image; 0 for what was saved before."""
    failed: str = ""
    """Why there are no figures."""
    perceptual: Mapping[str, float] = field(default_factory=dict)
    """By the name of the measure; without those that an image is too small for."""

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        figures = {name: list(one) for name, one in self.figures.items()}
        rest = {"failed": self.failed, "perceptual": dict(self.perceptual)}
        return {"figures": figures, "seconds": self.seconds, **{name: value for name, value in rest.items() if value}}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Outcome:
        """From what ``plain`` returned."""
        figures = {name: Fidelity(*one) for name, one in plain["figures"].items()}
        return cls(figures, plain["seconds"], plain.get("failed", ""), plain.get("perceptual", {}))


def outcomes(
    models: Sequence[Entrant],
    data: PairSet,
    tile: int,
    device: torch.device,
    folder: Path,
    fresh: bool = False,
    measures: Sequence[PerceptualMeasure] = (),
) -> dict[str, list[Outcome]]:
    """Return the result of each model on every pair of a dataset, by its label.

    Args:
        models: what is measured.
        data: the pairs.
        tile: images with a longer side are derained in tiles of this many pixels a side.
        device: where networks compute.
        folder: where the journals are.
        fresh: measure everything again, whatever the journals have.
        measures: what is measured beside PSNR and SSIM. Other measures, or others' weights, make other journals.

    A model that fails on an image (an output that is not finite, of another size, or absent) has no figures there. Raises
    DataError for a pair that cannot be read.
    """
    with ExitStack() as stack:
        journals = {}
        for model in models:
            weights = [f"{one.name} {one.digest}" for one in measures]
            own = [model.digest, network_digest(model.network) if model.network else ""]
            journal = ImageJournal(folder, *own, data.pairs.digest, str(tile), computer(device), *weights)
            if fresh:
                journal.rows.clear()
            journals[model.label] = stack.enter_context(journal)
        warm: set[str] = set()
        for index in track(range(len(data.pairs)), f"compare on {data.name}"):
            waiting = [model for model in models if index not in journals[model.label].rows]
            if not waiting:
                continue
            pair = data.pairs[index]
            for model in waiting[:: 1 if index % 2 else -1]:  # alternates, so that no model is always first
                if model.network and model.label not in warm:
                    _try(model.network, tile, device)
                    warm.add(model.label)
                journals[model.label].add(index, _measured(model, pair, tile, device, measures).plain())
        return {
            label: [Outcome.of(journal.rows[index]) for index in range(len(data.pairs))] for label, journal in journals.items()
        }


def _try(network: Restorer, tile: int, device: torch.device) -> None:
    with suppress(CheckpointError):  # which is counted with the images
        derain_values(network, WARM_UP, tile, device)


def _measured(model: Entrant, pair: Pair, tile: int, device: torch.device, measures: Sequence[PerceptualMeasure]) -> Outcome:
    started = time.perf_counter()
    try:
        found: NDArray[Any] = pair.rainy
        if model.network:
            found = derain_values(model.network, pair.rainy, tile, device)
        elif model.outputs:
            found = model.outputs.read(pair.dataset, pair.key.partition("/")[2])
        seconds = time.perf_counter() - started if model.network else 0.0
        figures, saved = scores(found, pair.clean), whole_levels(found, "rounded")
        large = min(pair.clean.shape[:2]) >= SMALLEST
        seen = {one.name: one.measure(saved, pair.clean, device) for one in measures if large}
        return Outcome(figures, seconds, perceptual=seen)
    except (CheckpointError, DataError) as error:
        return Outcome({}, 0.0, one_line(error))
