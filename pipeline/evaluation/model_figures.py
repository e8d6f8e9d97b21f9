"""The figures of one model on test images, in the form in which the gate compares two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ImageIdentity:
    """A test image.

    ``digest`` covers the pixels of the rainy and the clean image. Images that are not independent share one ``scene``.
    """

    dataset: str
    name: str
    digest: str
    scene: str


@dataclass(frozen=True)
class ModelFigures:
    """A model's figures: one value for each image, in the order of ``images``."""

    label: str
    """``version 3`` or ``rainy input``, for example."""
    images: tuple[ImageIdentity, ...]
    psnr_y: tuple[float, ...]
    """dB; NaN where the output was not finite."""
    ssim_y: tuple[float, ...]
    """NaN where the output was not finite."""
    seconds: tuple[float, ...] = ()
    """Time to derain each image; empty for the rainy input."""
    clean: Mapping[str, float] = field(default_factory=dict)
    """dataset/name -> PSNR-Y (dB) between a clean image and the model's output for it; only for the images that were tried."""
    gflop: float | None = None
    """Cost of one image of the size that ``rdmc.models.cost`` states; None for the rainy input, which computes nothing."""
    rains: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Rain -> gain in PSNR-Y (dB) of each photograph of the rule on robustness. Empty if the rule is off, for the rainy input,
    and for a model with an output that is not finite."""
