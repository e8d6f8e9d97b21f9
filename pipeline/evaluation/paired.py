"""Two models on the same test images, each image read once and given to both in turn; for the gate.

What is measured beside it is little: the rainy image only where it stands for the champion, and some clean images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from pipeline.config.recipe import Evaluate
from pipeline.console import track
from pipeline.evaluation.figures import ImageIdentity, ModelFigures
from rdmc.data.images import Image
from rdmc.data.loader import Pair, PairStore
from rdmc.data.pairs import sha256
from rdmc.errors import CheckpointError
from rdmc.inference import derain_image
from rdmc.metrics import psnr_y, ssim_y
from rdmc.models.base import Restorer
from rdmc.models.cost import cost

SIDE = 512
"""Image a side of the image whose cost is counted."""
RAINY = "rainy input"


@dataclass
class _Figures:
    """What one side did so far."""

    network: Restorer | None
    """None stands for the rainy input itself."""
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    clean: dict[str, float] = field(default_factory=dict)

    def outcome(self, label: str, images: tuple[ImageIdentity, ...]) -> ModelFigures:
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
    """What each model (by its label; None is the rainy input) did with every pair of the stores, in the models' order.

    A model whose output is not finite has NaN for that image. Raises DataError for shards that cannot be read.
    """
    sides = {label: _Figures(network) for label, network in models.items()}
    rows: list[tuple[ImageIdentity, str]] = []
    for name, store in stores.items():
        scenes = [scene for _, scene in store.labels()]
        tried = _spread(scenes, clean_share)
        for index in track(range(len(store)), f"gate {name}"):
            pair = store[index]
            rows.append(_identity(pair, scenes[index]))
            turn = list(sides.values())[:: 1 if index % 2 else -1]  # in turns, so that neither is always first
            for side in turn:
                _measure(side, pair, rules, device, index in tried)
    images = _joined(rows)
    return [side.outcome(label, images) for label, side in sides.items()]


def _measure(side: _Figures, pair: Pair, rules: Evaluate, device: torch.device, clean: bool) -> None:
    """Add one pair's figures, and those of its clean image where that is tried."""
    started = time.perf_counter()
    out = _derained(side.network, pair.rainy, rules, device)
    side.seconds.append(time.perf_counter() - started)
    side.psnr.append(math.nan if out is None else psnr_y(out, pair.clean))
    side.ssim.append(math.nan if out is None else ssim_y(out, pair.clean))
    if clean and side.network is not None:
        kept = _derained(side.network, pair.clean, rules, device)
        side.clean[pair.key] = math.nan if kept is None else psnr_y(kept, pair.clean)


def _derained(network: Restorer | None, image: Image, rules: Evaluate, device: torch.device) -> Image | None:
    """What comes out; None where it is not finite."""
    if network is None:
        return image
    try:
        return derain_image(network, image, rules.tile, device)
    except CheckpointError:
        return None


def _spread(scenes: Sequence[str], share: float) -> Collection[int]:
    """Positions of a share of the images, one at the least, each of another scene, spread evenly."""
    first = sorted({scene: index for index, scene in reversed(list(enumerate(scenes)))}.values())
    count = max(1, min(len(first), int(share * len(scenes))))
    return {first[number * len(first) // count] for number in range(count)}


def _identity(pair: Pair, scene: str) -> tuple[ImageIdentity, str]:
    """The image, its scene named within its dataset, and the digest of its clean side."""
    shape = str(pair.clean.shape).encode()
    rainy, clean = sha256(shape + pair.rainy.tobytes()), sha256(shape + pair.clean.tobytes())
    image = ImageIdentity(pair.dataset, pair.key.partition("/")[2], sha256((rainy + clean).encode()), f"{pair.dataset}/{scene}")
    return image, clean


def _joined(rows: Sequence[tuple[ImageIdentity, str]]) -> tuple[ImageIdentity, ...]:
    """The images, with scenes made one that share a clean image, as datasets do that were made from the same photographs."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    for image, clean in rows:
        low, high = sorted((root(image.scene), root(clean)))
        parent[high] = low
    return tuple(replace(image, scene=root(image.scene)) for image, _ in rows)
