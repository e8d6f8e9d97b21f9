"""Measure two models on the same test images, for the gate. Each image is read once and given to both models.

Only a little is measured beside that: some clean images, and the rainy image itself if it stands in for the champion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from pipeline.config.recipe import Evaluate
from pipeline.console import track
from pipeline.evaluation.model_figures import ImageIdentity, ModelFigures
from rdmc.data.images import Image
from rdmc.data.loader import Pair, PairStore
from rdmc.data.pairs import sha256
from rdmc.errors import CheckpointError
from rdmc.inference import derain_image
from rdmc.metrics import measure_luma, psnr_y
from rdmc.models.base import Restorer
from rdmc.models.cost import cost

RAINY = "rainy input"
"""Label of the unprocessed input, which stands in for the champion when there is none."""


@dataclass
class _Measurements:
    """The figures of one model on the images measured so far."""

    network: Restorer | None
    """None stands for the rainy input."""
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    clean: dict[str, float] = field(default_factory=dict)

    def figures(self, label: str, images: tuple[ImageIdentity, ...]) -> ModelFigures:
        gflop = None if self.network is None else cost(self.network.config).gflop
        seconds = () if self.network is None else tuple(self.seconds)
        return ModelFigures(label, images, tuple(self.psnr), tuple(self.ssim), seconds, self.clean, gflop)


def compared(
    models: Mapping[str, Restorer | None],
    stores: Mapping[str, PairStore],
    rules: Evaluate,
    clean_share: float,
    device: torch.device,
) -> list[ModelFigures]:
    """The figures of each model on every pair of the stores, in the order of ``models``.

    ``models`` maps a label to a network, or to None for the rainy input. ``clean_share`` is the share of the images whose clean
    image is derained too. An image for which a model's output is not finite has NaN as its figures. Raises DataError for shards
    that cannot be read.
    """
    measured = {label: _Measurements(network) for label, network in models.items()}
    rows: list[tuple[ImageIdentity, str]] = []
    for name, store in stores.items():
        scenes = [scene for _, scene in store.labels()]
        tried = _spread(scenes, clean_share)
        for index in track(range(len(store)), f"gate {name}"):
            pair = store[index]
            rows.append(_identity(pair, scenes[index]))
            order = list(measured.values())[:: 1 if index % 2 else -1]  # alternates, so that neither model is always first
            for model in order:
                _measure(model, pair, rules, device, index in tried)
    images = _joined(rows)
    return [model.figures(label, images) for label, model in measured.items()]


def _measure(model: _Measurements, pair: Pair, rules: Evaluate, device: torch.device, clean: bool) -> None:
    """Add one pair's figures and, if ``clean``, those of its clean image."""
    started = time.perf_counter()
    out = _derained(model.network, pair.rainy, rules, device)
    model.seconds.append(time.perf_counter() - started)
    found = {} if out is None else measure_luma(out, pair.clean)
    model.psnr.append(found.get("psnr_y", math.nan))
    model.ssim.append(found.get("ssim_y", math.nan))
    if clean and model.network is not None:
        kept = _derained(model.network, pair.clean, rules, device)
        model.clean[pair.key] = math.nan if kept is None else psnr_y(kept, pair.clean)


def _derained(network: Restorer | None, image: Image, rules: Evaluate, device: torch.device) -> Image | None:
    """The derained image; None if the network's output is not finite."""
    if network is None:
        return image
    try:
        return derain_image(network, image, rules.tile, device)
    except CheckpointError:
        return None


def _spread(scenes: Sequence[str], share: float) -> Collection[int]:
    """Positions of a share of the images: evenly spread, each from a different scene, at least one."""
    first = sorted({scene: index for index, scene in reversed(list(enumerate(scenes)))}.values())
    count = max(1, min(len(first), int(share * len(scenes))))
    return {first[number * len(first) // count] for number in range(count)}


def _identity(pair: Pair, scene: str) -> tuple[ImageIdentity, str]:
    """The image, its scene named within its dataset, and the digest of its clean image."""
    shape = str(pair.clean.shape).encode()
    rainy, clean = sha256(shape + pair.rainy.tobytes()), sha256(shape + pair.clean.tobytes())
    image = ImageIdentity(pair.dataset, pair.key.partition("/")[2], sha256((rainy + clean).encode()), f"{pair.dataset}/{scene}")
    return image, clean


def _joined(rows: Sequence[tuple[ImageIdentity, str]]) -> tuple[ImageIdentity, ...]:
    """The images, with scenes merged if they share a clean image, as in datasets made from the same photographs."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    for image, clean in rows:
        low, high = sorted((root(image.scene), root(clean)))
        parent[high] = low
    return tuple(replace(image, scene=root(image.scene)) for image, _ in rows)
