"""Loss terms, each a pure function of (N, 3, H, W) images in RGB, 0 to 1, and the objective that weighs them.

The terms are those of docs/rdmc.md: a pixel distance, a structural one and the contrastive prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import ConfigError
from rdmc.features import encoder_features
from rdmc.restorer import Restorer

PIXEL = ("l1", "charbonnier", "mse", "psnr")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; a weight of 0 leaves a term out and costs nothing."""

    pixel: str = "charbonnier"
    """Pixel distance: l1, charbonnier, mse or psnr. Its weight is 1."""
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
        if self.levels < 1:
            raise ConfigError(f"loss.levels: {self.levels} is below 1; give how many of the encoder's levels the prior sees")


def charbonnier(derained: Tensor, clean: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt((derained - clean)^2 + epsilon^2): L1 far from zero, smooth at it (Charbonnier et al., ICIP 1994)."""
    return ((derained - clean).square() + epsilon**2).sqrt().mean()


def negative_psnr(derained: Tensor, clean: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Mean over images of -PSNR / 200: log10(mean squared error + epsilon) / 20, a scalar (0.05 for each 10 dB).

    Most pixels of a rainy image are clean already, so the *median* residual is nought, where L1 and Charbonnier first
    settle; the logarithm weighs an image of light rain as much as one of heavy rain (docs/decisions/0004).
    """
    errors = (derained - clean).square().mean((1, 2, 3))
    return (errors + epsilon).log10().mean() / 20


def pixel_distance(kind: str, derained: Tensor, clean: Tensor) -> Tensor:
    """The mean pixel distance named ``kind`` (of ``PIXEL``), a scalar."""
    if kind == "l1":
        return F.l1_loss(derained, clean)
    if kind == "mse":
        return F.mse_loss(derained, clean)
    return negative_psnr(derained, clean) if kind == "psnr" else charbonnier(derained, clean)


def ssim(derained: Tensor, clean: Tensor, window: int = 11, sigma: float = 1.5) -> Tensor:
    """Mean structural similarity, a scalar in [-1, 1], over channels and the positions where the window fits.

    Gaussian window, K1 = 0.01, K2 = 0.03, data range 1 (Wang et al., IEEE TIP 13(4), 2004). Height and width must be at
    least ``window``.
    """
    channels = derained.shape[1]
    offsets = torch.arange(window, dtype=derained.dtype, device=derained.device) - window // 2
    line = torch.exp(-offsets.square() / (2 * sigma**2))
    line = (line / line.sum()).repeat(5 * channels, 1)
    maps = torch.cat([derained, clean, derained * derained, clean * clean, derained * clean], 1)  # (N, 5C, H, W)
    maps = F.conv2d(maps, line[:, None, None, :], groups=5 * channels)
    maps = F.conv2d(maps, line[:, None, :, None], groups=5 * channels)
    mean_d, mean_c, square_d, square_c, product = maps.chunk(5, 1)
    var_d, var_c, cov = square_d - mean_d.square(), square_c - mean_c.square(), product - mean_d * mean_c
    luminance = (2 * mean_d * mean_c + 0.01**2) / (mean_d.square() + mean_c.square() + 0.01**2)
    structure = (2 * cov + 0.03**2) / (var_d + var_c + 0.03**2)
    return (luminance * structure).mean()


def contrastive_ratio(derained: list[Tensor], clean: list[Tensor], rainy: list[Tensor]) -> Tensor:
    """The contrastive prior: near the clean image and far from the rainy one, in feature space; a scalar in [0, 1].

    With d the L1 distance of features, averaged per image and level, it is the mean of

        d(derained, clean) / (d(derained, clean) + d(derained, rainy))

    which is r / (1 + r) for the published ratio r = d(derained, clean) / d(derained, rainy): the same order and the same
    minimum, yet bounded, as r is not while the first estimates still equal the rainy image. Features of ``clean`` and
    ``rainy`` are constants; the gradient reaches the derained image through *both* distances.

    Each argument lists levels of (N, C, H, W).
    """
    terms = []
    for d, c, r in zip(derained, clean, rainy, strict=True):
        positive = (d - c.detach()).abs().mean((1, 2, 3))
        negative = (d - r.detach()).abs().mean((1, 2, 3))
        terms.append(positive / (positive + negative + 1e-6))
    return torch.stack(terms).mean()


class Objective(nn.Module):
    """The network and its loss in one module, so that data-parallel training wraps a single forward."""

    def __init__(self, network: Restorer, config: LossConfig) -> None:
        super().__init__()
        taps = network.config.taps
        if config.contrastive and config.levels > taps:
            raise ConfigError(f"loss.levels: {config.levels} exceeds the {taps} levels that the network has; lower it")
        self.network = network
        self.config = config

    def forward(self, rainy: Tensor, clean: Tensor) -> Tensor:
        """The loss of a batch, a scalar: a weighted mean over the passes, the prior on the last estimate."""
        estimates = [estimate.float() for estimate in self.network.estimates(rainy)]
        last = len(estimates) - 1
        weights = [self.config.passes ** (last - index) for index in range(len(estimates))]
        supervised = [(w, e) for w, e in zip(weights, estimates, strict=True) if w > 0]
        terms = [w * pixel_distance(self.config.pixel, e, clean) for w, e in supervised]
        loss = torch.stack(terms).sum() / sum(weights)
        if self.config.ssim:
            loss = loss + self.config.ssim * (1 - ssim(estimates[-1], clean))
        if self.config.contrastive:
            loss = loss + self.config.contrastive * self._prior(estimates[-1], clean, rainy)
        return loss

    def _prior(self, derained: Tensor, clean: Tensor, rainy: Tensor) -> Tensor:
        found = encoder_features(self.network, derained, self.config.levels)
        with torch.no_grad():
            both = encoder_features(self.network, torch.cat([clean, rainy]), self.config.levels)
        halves = [level.chunk(2) for level in both]
        return contrastive_ratio(found, [half[0] for half in halves], [half[1] for half in halves])
