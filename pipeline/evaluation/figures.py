"""The figures of a model on test images that another model was measured on too, as the gate compares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ImageIdentity:
    """A test image; ``digest`` is of the pixels of both sides, ``scene`` is one for all images that are not independent."""

    dataset: str
    name: str
    digest: str
    scene: str


@dataclass(frozen=True)
class ModelFigures:
    """What a model did: a figure for each image, in the images' order."""

    label: str
    """As ``version 3`` or ``rainy input``."""
    images: tuple[ImageIdentity, ...]
    psnr_y: tuple[float, ...]
    """dB; NaN where what came out was not finite."""
    ssim_y: tuple[float, ...]
    seconds: tuple[float, ...] = ()
    clean: Mapping[str, float] = field(default_factory=dict)
    """By dataset/name: PSNR-Y (dB) of what came out for the clean image, against it."""
    gflop: float | None = None
    """Of one image of a fixed size; None for what computes nothing."""
