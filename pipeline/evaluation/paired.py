"""Measure two models on the same test images, for the gate. Each image is read once and given to both models.

Only a little is measured beside that: some clean images, and the rainy image itself if it stands in for the champion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from pipeline.config.recipe import Evaluate
from pipeline.console import track
from pipeline.evaluation.abreast import SharedNetwork, in_turn
from pipeline.evaluation.model_figures import ImageIdentity, ModelFigures
from pipeline.evaluation.scenes import merged
from rdmc.data.images import Image, pixels_digest
from rdmc.data.loader import Pair, PairStore
from rdmc.data.pairs import sha256
from rdmc.errors import CheckpointError
from rdmc.metrics import measure_luma, psnr_y
from rdmc.models.base import Restorer
from rdmc.models.cost import cost

RAINY = "rainy input"
"""Label of the unprocessed input, which stands in for the champion when there is none."""


@dataclass(frozen=True)
class _Figures:
    """The figures of one model on one image."""

    psnr: float
    ssim: float
    seconds: float
    kept: float | None
    """PSNR-Y of the clean image after it went through the model; None if that was not tried."""


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
    count = sum(map(len, stores.values()))
    places = SharedNetwork(torch.nn.Identity(), rules.tile, device, count)
    networks = {label: None if network is None else places.beside(network) for label, network in models.items()}
    figures: dict[str, list[_Figures]] = {label: [] for label in models}
    clean: dict[str, dict[str, float]] = {label: {} for label in models}
    rows: list[tuple[ImageIdentity, str]] = []
    for name, store in stores.items():
        scenes = [scene for _, scene in store.labels()]
        tried = _spread(scenes, clean_share)

        def measured(index: int, store: PairStore = store, tried: Collection[int] = tried) -> tuple[Pair, dict[str, _Figures]]:
            pair = store[index]
            order = list(networks)[:: 1 if index % 2 else -1]  # alternates, so that neither model is always first
            return pair, {label: _measure(networks[label], pair, index in tried) for label in order}

        found = in_turn(measured, range(len(store)), places.abreast)
        for index, (pair, of_models) in enumerate(track(found, f"gate {name}", len(store))):
            rows.append(_identity(pair, scenes[index]))
            for label, own in of_models.items():
                figures[label].append(own)
                if own.kept is not None:
                    clean[label][pair.key] = own.kept
    scenes = merged([image.scene for image, _ in rows], [clean for _, clean in rows])
    images = tuple(replace(image, scene=scene) for (image, _), scene in zip(rows, scenes, strict=True))
    return [_of_model(label, images, models[label], figures[label], clean[label]) for label in models]


def _of_model(
    label: str, images: tuple[ImageIdentity, ...], network: Restorer | None, found: list[_Figures], clean: dict[str, float]
) -> ModelFigures:
    psnr, ssim = tuple(one.psnr for one in found), tuple(one.ssim for one in found)
    if network is None:
        return ModelFigures(label, images, psnr, ssim, (), clean, None)
    return ModelFigures(label, images, psnr, ssim, tuple(one.seconds for one in found), clean, cost(network.config).gflop)


def _measure(shared: SharedNetwork | None, pair: Pair, clean: bool) -> _Figures:
    """The figures of a model on one pair and, if ``clean``, on its clean image."""
    out, seconds = _derained(shared, pair.rainy)
    found = {} if out is None else measure_luma(out, pair.clean)
    kept = None
    if clean and shared:
        again, _ = _derained(shared, pair.clean)
        kept = math.nan if again is None else psnr_y(again, pair.clean)
    return _Figures(found.get("psnr_y", math.nan), found.get("ssim_y", math.nan), seconds, kept)


def _derained(shared: SharedNetwork | None, image: Image) -> tuple[Image | None, float]:
    """The derained image and the seconds that it took; None if the network's output is not finite."""
    if shared is None:
        return image, 0.0
    started = time.perf_counter()
    try:
        return shared(image)
    except CheckpointError:
        return None, time.perf_counter() - started


def _spread(scenes: Sequence[str], share: float) -> Collection[int]:
    """Positions of a share of the images: evenly spread, each from a different scene, at least one."""
    first = sorted({scene: index for index, scene in reversed(list(enumerate(scenes)))}.values())
    count = max(1, min(len(first), int(share * len(scenes))))
    return {first[number * len(first) // count] for number in range(count)}


def _identity(pair: Pair, scene: str) -> tuple[ImageIdentity, str]:
    """The image, its scene named within its dataset, and the digest of its clean image."""
    rainy, clean = pixels_digest(pair.rainy), pixels_digest(pair.clean)
    image = ImageIdentity(pair.dataset, pair.key.partition("/")[2], sha256((rainy + clean).encode()), f"{pair.dataset}/{scene}")
    return image, clean
