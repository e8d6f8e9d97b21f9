"""How an image becomes the input of another network, and how its boxes come back: explicit, and the same for every version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rdmc.data.images import Image

Values = Literal["unit", "bytes", "imagenet"]
"""The values that the network takes: 0 to 1, 0 to 255, or 0 to 1 less ImageNet's mean over its standard deviation."""
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
"""ImageNet's, in the order R, G, B."""
GREY = 114
"""The level of the padding, which YOLO made usual."""


@dataclass(frozen=True)
class InputRule:
    """What a network takes."""

    height: int
    width: int
    values: Values = "unit"
    bgr: bool = False
    """Whether the channels are B, G, R instead of R, G, B."""
    stretch: bool = False
    """Whether the image is stretched to the input. Otherwise it keeps its shape, and the rest, right and below, is padded."""

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """The input (3, height, width) for an image (H, W, 3), RGB, 0 to 255."""
        across, down = self.scale(image)
        size = (max(1, round(image.shape[1] * across)), max(1, round(image.shape[0] * down)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if across < 1 else cv2.INTER_LINEAR)
        whole = np.full((self.height, self.width, 3), GREY, np.float32)
        whole[: size[1], : size[0]] = small
        if self.values != "bytes":
            whole /= 255
        if self.values == "imagenet":
            whole = (whole - MEAN) / DEVIATION
        return np.ascontiguousarray((whole[..., ::-1] if self.bgr else whole).transpose(2, 0, 1))

    def scale(self, image: Image) -> tuple[float, float]:
        """By how much the image's width and its height are multiplied."""
        across, down = self.width / image.shape[1], self.height / image.shape[0]
        return (across, down) if self.stretch else (min(across, down), min(across, down))
