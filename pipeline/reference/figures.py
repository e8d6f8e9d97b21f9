"""The figures of the reference model on test images, in the form of its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from pipeline.config.recipe import Evaluate
from pipeline.evaluation.evaluator import ImageResult, measured
from rdmc.data.loader import PairStore
from rdmc.datasets.checks import pixel_digest
from rdmc.inference import derain_image
from rdmc.metrics import psnr_y
from rdmc.models.base import Restorer
from rdmc.reference import ReferenceFigures

DIGITS = 4
"""Digits after the point. Other processors and thread counts change the next ones."""


def reference_figures(
    network: Restorer, stores: Mapping[str, PairStore], rules: Evaluate, device: torch.device
) -> dict[str, ReferenceFigures]:
    """The figures over the pairs of each store, by dataset, and over all of them as ``overall``.

    ``overall`` counts every pair once. Each clean image is derained once, however many pairs and datasets share it.
    """
    results = {name: list(measured(network, store, name, rules, device)) for name, store in stores.items()}
    seen: dict[str, float] = {}
    kept = {name: _kept(network, store, rules, device, seen) for name, store in stores.items()}
    figures = {name: _figures(found, kept[name]) for name, found in results.items()}
    everything = [result for found in results.values() for result in found]
    return {**figures, "overall": _figures(everything, min(kept.values()))}


def _kept(network: Restorer, store: PairStore, rules: Evaluate, device: torch.device, seen: dict[str, float]) -> float:
    """The lowest PSNR-Y (dB) of the store's clean images after they went through the network.

    ``seen`` has that of each image by its digest; images that are missing there are added.
    """
    found = []
    for index in range(len(store)):
        clean = store[index].clean
        digest = pixel_digest(clean)
        if digest not in seen:
            seen[digest] = psnr_y(derain_image(network, clean, rules.tile, device), clean)
        found.append(seen[digest])
    return min(found)


def _figures(results: Sequence[ImageResult], clean: float) -> ReferenceFigures:
    def mean(side: str, name: str) -> float:
        values = [float(getattr(result, side)[name]) for result in results]
        return round(sum(values) / len(values), DIGITS)

    return ReferenceFigures(
        images=len(results),
        rainy_psnr_y=mean("rainy", "psnr_y"),
        rainy_ssim_y=mean("rainy", "ssim_y"),
        derained_psnr_y=mean("derained", "psnr_y"),
        derained_ssim_y=mean("derained", "ssim_y"),
        worst_gain_psnr_y=round(min(result.gain for result in results), DIGITS),
        clean_psnr_y=round(clean, DIGITS),
    )
