"""Measure a model on whole test images, for ``evaluate`` and ``ablate``.

The results are the figures of each image and their means, for the rainy and for the derained image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipeline.config.project import Project
from pipeline.config.recipe import Evaluate, Recipe
from pipeline.config.settings import Settings
from pipeline.console import say, track
from pipeline.evaluation.abreast import SharedNetwork, in_turn
from pipeline.storage.datasets import open_pairs
from rdmc.data.images import Image, pixels_digest
from rdmc.data.loader import Pair, PairStore
from rdmc.errors import DataError
from rdmc.inference import best_device
from rdmc.metrics import BEST_PSNR, Means, measure

CACHE_MB = 16
"""Size of the shard cache. It is small because each image is read only once or twice."""


@dataclass(frozen=True)
class ImageResult:
    """The figures (``rdmc.metrics.measure``) of one test image before and after deraining."""

    dataset: str
    image: str
    height: int
    width: int
    rainy: dict[str, float]
    derained: dict[str, float]
    seconds: float
    """What the network took; an image that shared the processor with others counts with its share of the time."""
    clean: str
    """The digest of the clean image (``pixels_digest``), by which scenes of several datasets are known to be one."""
    computer: str
    """What the network computed on: a worker's GPU or processor need not be that of the command."""

    @property
    def identical(self) -> bool:
        """Whether the output equals the clean image, or all but equals it: its PSNR counts as ``BEST_PSNR``."""
        return self.derained["psnr_rgb"] >= BEST_PSNR

    @property
    def gain(self) -> float:
        """PSNR-Y of the derained image over that of the rainy one, dB."""
        return self.derained["psnr_y"] - self.rainy["psnr_y"]


def device_of(settings: Settings) -> torch.device:
    """The device to derain on: a GPU if this process has one and the settings allow it, else the CPU."""
    return torch.device("cpu") if settings.gpu is False else best_device()


def open_tests(project: Project[Recipe]) -> dict[str, PairStore]:
    """The test pairs of each dataset that has some; prints the names of the others. Raises DataError if no dataset has any."""
    names = list(project.params.datasets)
    stores = {name: open_pairs(project, "test", [name], CACHE_MB, allow_empty=True) for name in names}
    for name, store in stores.items():
        if not len(store):
            say(f"{name}: no test pairs, not evaluated")
    stores = {name: store for name, store in stores.items() if len(store)}
    if not stores:
        raise DataError(f"{', '.join(names)}: no test pairs; give one a `test` in params.yaml, then `dvc repro`")
    return stores


def measured(
    network: nn.Module, store: PairStore, dataset: str, rules: Evaluate, device: torch.device
) -> Iterator[ImageResult]:
    """Yield the figures of each pair of a store, in order. Several pairs are in work at the same time."""
    shared = SharedNetwork(network, rules.tile, device, len(store))

    def measure_one(index: int) -> ImageResult:
        return measured_pair(shared, store[index], dataset)[0]

    yield from track(in_turn(measure_one, range(len(store)), shared.abreast), f"evaluate {dataset}", len(store))


def measured_pair(shared: SharedNetwork, pair: Pair, dataset: str) -> tuple[ImageResult, Image]:
    """Return the figures of one pair, and its derained image."""
    derained, seconds = shared(pair.rainy)
    before, after = measure(pair.rainy, pair.clean), measure(derained, pair.clean)
    height, width = pair.rainy.shape[:2]
    name, photograph = pair.key.partition("/")[2], pixels_digest(pair.clean)
    return ImageResult(dataset, name, height, width, before, after, seconds, photograph, shared.computer), derained


def summary(results: dict[str, list[ImageResult]]) -> dict[str, Any]:
    """The means over the images of each dataset and over all images. Times are left out, so equal models give equal figures."""
    groups = {**results, "overall": [result for group in results.values() for result in group]}
    return {name: _means(group) for name, group in groups.items()}


def _means(results: list[ImageResult]) -> dict[str, Any]:
    rainy, derained = Means(), Means()
    for result in results:
        rainy.add(result.rainy)
        derained.add(result.derained)
    before, after = rainy.mean(), derained.mean()
    return {
        "rainy": {name: round(value, 6) for name, value in before.items()},
        "derained": {name: round(value, 6) for name, value in after.items()},
        "gain_psnr_y": round(after["psnr_y"] - before["psnr_y"], 6),
        "images": rainy.count,
    }
