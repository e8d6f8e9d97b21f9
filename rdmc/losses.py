"""Loss terms, each a pure function of (N, 3, H, W) images in RGB, 0 to 1, and the objective that weighs them.

The terms are those of docs/rdmc.md: a pixel distance, a structural one and the contrastive prior.
"""

from __future__ import annotations

from dataclasses import dataclass

from rdmc.errors import ConfigError

PIXEL = ("l1", "charbonnier", "mse")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; a weight of 0 leaves a term out and costs nothing."""

    pixel: str = "charbonnier"
    """Pixel distance: l1, charbonnier or mse. Its weight is 1."""
    ssim: float = 0.2
    """Weight of 1 - SSIM."""
    contrastive: float = 0.1
    """Weight of the contrastive prior."""
    levels: int = 3
    """Encoder levels, from the finest, that span the prior's feature space."""
    passes: float = 0.5
    """Weight of an earlier recursive pass relative to the next one; 0 supervises the last pass alone."""

    def __post_init__(self) -> None:
        if self.pixel not in PIXEL:
            raise ConfigError(f"loss.pixel: {self.pixel!r} is not one of {', '.join(PIXEL)}; choose one of them")
        for name in ("ssim", "contrastive", "passes"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"loss.{name}: {getattr(self, name)} is not a weight; give a number of 0 or more")
        if not 1 <= self.levels <= 5:
            raise ConfigError(f"loss.levels: {self.levels} is not within 1 to 5, the levels of an encoder; choose one of them")
