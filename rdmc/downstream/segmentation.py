"""Semantic segmentation: the class of each pixel, and how two label maps of one image agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from rdmc.data.images import MAX_PIXELS, Image, read_bytes
from rdmc.downstream.inputs import InputRule
from rdmc.downstream.layouts import Outputs, recognise
from rdmc.errors import ConfigError, DataError, one_line

Labels = NDArray[np.int64]
"""(H, W): a class for each pixel, from 0; IGNORED for none."""
Segmenter = Callable[[Image], Labels]
"""Labels an image (H, W, 3), RGB, 0 to 255, at any size that is the same for images of one size."""
IGNORED = 255
"""The label of pixels that are not compared, as Cityscapes has it."""


class NetworkSegmenter:
    """A segmenter that is a network of others, with logits (1, C, H, W) or labels (1, H, W)."""

    def __init__(self, network: Callable[[Any], Outputs], rule: InputRule, path: Path | None = None) -> None:
        self._network, self._rule, self._path = network, rule, path

    def __call__(self, image: Image) -> Labels:
        """The labels at the size of the network's output, without padding. Raises ConfigError for outputs of a detector."""
        outputs = self._network(self._rule.prepare(image))
        form = recognise(outputs)
        if form not in ("logits", "labels"):
            raise ConfigError(f"{self._path or 'the network'}: is no segmenter, its outputs are {form}; use --detector")
        found = next(iter(outputs.values()))[0]
        labels = found.argmax(0) if form == "logits" else found
        across, down = self._rule.scale(image)
        height = max(1, round(labels.shape[0] * min(1.0, image.shape[0] * down / self._rule.height)))
        width = max(1, round(labels.shape[1] * min(1.0, image.shape[1] * across / self._rule.width)))
        return np.asarray(labels[:height, :width], np.int64)


def read_labels(path: Path, shape: tuple[int, ...]) -> Labels:
    """Return the label map in a grey PNG file, reduced to ``shape`` by its nearest pixels.

    Raises DataError if there is none, or it has more than one channel.
    """
    try:
        with Pillow.open(BytesIO(read_bytes(path)), formats=("PNG",)) as image:
            if image.mode not in ("L", "P"):
                raise ValueError(f"its mode is {image.mode}, the rule is one channel of 8 bits")
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} is more than {MAX_PIXELS:,} pixels")
            return np.asarray(image.resize((shape[1], shape[0]), Pillow.Resampling.NEAREST), np.int64)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: no label map ({one_line(error)}); save one as a grey PNG") from None


@dataclass(frozen=True)
class Overlap:
    """How label maps agree, over all pixels of all images."""

    miou: float
    """Mean over the classes of the truth of intersection over union, 0 to 1."""
    accuracy: float
    """The share of pixels with the right class, 0 to 1."""
    classes: int
    """Classes in the truth."""


def overlap(truth: Sequence[Labels], found: Sequence[Labels]) -> Overlap:
    """Compare label maps of equal sizes, image by image. Pixels that the truth ignores are left out.

    Raises DataError for two sizes of one image, and where nothing is labelled.
    """
    counts: dict[tuple[int, int], int] = {}
    for one, other in zip(truth, found, strict=True):
        if one.shape != other.shape:
            raise DataError(f"label maps of {one.shape} and {other.shape}: the rule is one size; label both at one size")
        seen = one != IGNORED
        pairs, numbers = np.unique(np.stack([one[seen], other[seen]], 1), axis=0, return_counts=True)
        for (right, given), number in zip(pairs.tolist(), numbers.tolist(), strict=True):
            counts[right, given] = counts.get((right, given), 0) + number
    total = sum(counts.values())
    if not total:
        raise DataError("label maps without a labelled pixel; name images that have labels")
    classes = {right for right, _ in counts}
    ious = []
    for label in classes:
        both = counts.get((label, label), 0)
        union = sum(number for pair, number in counts.items() if label in pair)
        ious.append(both / union)
    hit = sum(number for (right, given), number in counts.items() if right == given)
    return Overlap(float(np.mean(ious)), hit / total, len(classes))
