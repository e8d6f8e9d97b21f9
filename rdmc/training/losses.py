"""Loss terms, each a pure function of (N, 3, H, W) images in RGB, 0 to 1, and the objective that weights them.

The terms are a pixel distance, a structural one and the contrastive prior (rdmc/training/prior.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.models.base import Restorer
from rdmc.training.config import LossConfig
from rdmc.training.features import encoder_features
from rdmc.training.prior import InfoNCE, Prior, Ratio
from rdmc.training.vgg19 import load_vgg19


def charbonnier(derained: Tensor, clean: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Return the mean of sqrt((derained - clean)^2 + epsilon^2): L1 far from 0, smooth at 0 (Charbonnier et al., ICIP 1994)."""
    return ((derained - clean).square() + epsilon**2).sqrt().mean()


def negative_psnr(derained: Tensor, clean: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Return the mean over images of -PSNR / 200: log10(mean squared error + epsilon) / 20, a scalar (0.05 for each 10 dB).

    Most pixels of a rainy image are clean already, so the *median* residual is zero, and L1 and Charbonnier settle there
    first. The logarithm gives an image of light rain as much weight as one of heavy rain (docs/decisions/0004).
    """
    errors = (derained - clean).square().mean((1, 2, 3))
    return (errors + epsilon).log10().mean() / 20


def pixel_distance(kind: str, derained: Tensor, clean: Tensor) -> Tensor:
    """Return the mean pixel distance named ``kind`` (one of ``PIXEL``), a scalar."""
    if kind == "l1":
        return F.l1_loss(derained, clean)
    if kind == "mse":
        return F.mse_loss(derained, clean)
    return negative_psnr(derained, clean) if kind == "psnr" else charbonnier(derained, clean)


def ssim(derained: Tensor, clean: Tensor, window: int = 11, sigma: float = 1.5) -> Tensor:
    """Return the mean structural similarity, a scalar in [-1, 1], over channels and the positions where the window fits.

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


class Objective(nn.Module):
    """The network and its loss in one module, so that data-parallel training wraps a single forward."""

    def __init__(self, network: Restorer, config: LossConfig, seed: int = 0) -> None:
        """Draw the weights of the prior's head from torch's generator, and the places it compares from ``seed``.

        Raises ConfigError for more levels than the feature space has, ServiceError or CheckpointError for VGG19 weights that
        cannot be downloaded or read.
        """
        super().__init__()
        config.require_levels(network.config.taps)
        self.network = network
        self.config = config
        self.vgg19 = load_vgg19(config.vgg19_weights, config.vgg19_sha256, config.levels) if config.needs_vgg19 else None
        self.prior = self._make_prior(seed) if config.contrastive else None

    @property
    def repeats(self) -> bool:
        """Whether the device does the same work at every step: the position in the stream changes nothing."""
        return self.config.recursion == "unrolled" and not isinstance(self.prior, InfoNCE)

    @property
    def heads(self) -> nn.Module:
        """The modules that are trained with the network but are not part of it."""
        return self.prior.heads if isinstance(self.prior, InfoNCE) else nn.ModuleList()

    def forward(self, rainy: Tensor, clean: Tensor, first: int = 0) -> dict[str, Tensor]:
        """Return the scalar terms of a batch whose first image is at position ``first`` of the stream.

        Training minimises ``loss``. It is ``pixel`` (a weighted mean over unrolled passes) plus, each times its weight and
        computed on the last estimate, ``ssim`` (which is 1 - SSIM) and ``contrastive``. A term of weight 0 is absent. InfoNCE
        adds ``mi_bound``, in nats, for information only.
        """
        estimates = [estimate.float() for estimate in self._estimates(rainy, first)]
        terms = {"pixel": self._pixel(estimates, clean)}
        loss = terms["pixel"]
        if self.config.ssim:
            terms["ssim"] = 1 - ssim(estimates[-1], clean)
            loss = loss + self.config.ssim * terms["ssim"]
        if self.prior is not None:
            terms |= self._contrast(self.prior, estimates[-1], clean, rainy, first)
            loss = loss + self.config.contrastive * terms["contrastive"]
        return {"loss": loss, **terms}

    def _estimates(self, rainy: Tensor, first: int) -> list[Tensor]:
        truncated = self.config.recursion == "truncated"
        return self.network.truncated(rainy, first) if truncated else self.network.estimates(rainy)

    def _pixel(self, estimates: list[Tensor], clean: Tensor) -> Tensor:
        last = len(estimates) - 1
        weights = [self.config.passes ** (last - index) for index in range(len(estimates))]
        supervised = [(w, e) for w, e in zip(weights, estimates, strict=True) if w > 0]
        terms = [w * pixel_distance(self.config.pixel, e, clean) for w, e in supervised]
        return torch.stack(terms).sum() / sum(weights)

    def _features(self, image: Tensor) -> list[Tensor]:
        return encoder_features(self.network, image, self.config.levels) if self.vgg19 is None else self.vgg19(image)

    def _contrast(self, prior: Prior, derained: Tensor, clean: Tensor, rainy: Tensor, first: int) -> dict[str, Tensor]:
        found = self._features(derained)
        with torch.no_grad():
            halves = [level.chunk(2) for level in self._features(torch.cat([clean, rainy]))]
        terms: dict[str, Tensor] = prior(found, [half[0] for half in halves], [half[1] for half in halves], first)
        return terms

    def _make_prior(self, seed: int) -> Prior:
        config = self.config
        weights = [1.0] * config.levels if self.vgg19 is None else list(self.vgg19.weights)
        if config.prior == "ratio":
            return Ratio(weights)
        space = self.network if self.vgg19 is None else self.vgg19
        with torch.no_grad():
            channels = [level.shape[1] for level in self._features(next(space.parameters()).new_zeros(1, 3, 16, 16))]
        projection = config.projection if self.vgg19 is None else None  # VGG19's features are a representation already
        return InfoNCE(channels, weights, config.temperature, config.patches, projection, seed)
