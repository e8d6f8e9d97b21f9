"""Make training crops from decoded pairs. Arrays are (H, W, 3), tensors (N, 3, H, W), both RGB."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rdmc.data.images import Image


def crop_pair(rainy: Image, clean: Image, crop: int, rng: np.random.Generator) -> tuple[Image, Image]:
    """Return the same random square of ``crop`` pixels from both, mirrored left to right half of the time.

    Rain falls. A picture turned by 90 degrees or upside down shows streaks and light that no camera sees, and the network
    would spend capacity on them. A mirrored picture is as likely as the original. Images smaller than ``crop`` are extended.
    """
    rainy, clean = extend(rainy, crop), extend(clean, crop)
    top = int(rng.integers(rainy.shape[0] - crop + 1))
    left = int(rng.integers(rainy.shape[1] - crop + 1))
    window = np.s_[top : top + crop, left : left + crop]
    if rng.random() < 0.5:
        return rainy[window][:, ::-1], clean[window][:, ::-1]
    return rainy[window], clean[window]


def extend(image: Image, side: int) -> Image:
    """Extend ``image`` at the right and bottom, by mirroring, to at least ``side`` pixels each way."""
    down, right = max(side - image.shape[0], 0), max(side - image.shape[1], 0)
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode="reflect") if down or right else image


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return (N, H, W, 3) as a tensor (N, 3, H, W) of the same bytes, still channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def to_unit(images: Tensor) -> Tensor:
    """Convert uint8, 0 to 255, to float32, 0 to 1, in the same memory layout and on the same device."""
    return images.float().div_(255)
