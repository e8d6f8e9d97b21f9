"""Loss terms, each a pure function of (N, 3, H, W) images in RGB, 0 to 1, and the objective that weighs them.

The terms are a pixel distance, a structural one and the contrastive prior (rdmc/training/prior.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.errors import ConfigError
from rdmc.models.base import Restorer
from rdmc.training.features import encoder_features
from rdmc.training.prior import PRIORS, InfoNCE, Prior, Ratio
from rdmc.training.vgg19 import TAPS, load_vgg19

PIXEL = ("l1", "charbonnier", "mse", "psnr")
FEATURES = ("encoder", "vgg19")
RECURSION = ("unrolled", "truncated")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; a weight of 0 leaves a term out and costs nothing."""

    pixel: str = "charbonnier"
    """Pixel distance: l1, charbonnier, mse or psnr. Its weight is 1."""
    ssim: float = 0.2
    """Weight of 1 - SSIM."""
    contrastive: float = 0.1
    """Weight of the contrastive prior."""
    prior: str = "ratio"
    """Form of the prior: ratio (of distances, as published) or infonce (patch against patch)."""
    features: str = "encoder"
    """Its feature space: encoder (the network's own, nothing to download) or vgg19 (trained on ImageNet, as published)."""
    levels: int = 3
    """Levels of the feature space, from the finest, that the prior sees."""
    temperature: float = 0.1
    """What InfoNCE divides similarities by: the lower, the more the hardest negatives count."""
    patches: int = 64
    """Patches of each image and level that InfoNCE compares; all there are, where there are fewer."""
    projection: int = 32
    """Width of the head that projects the encoder's features for InfoNCE. VGG19's are compared as they are."""
    vgg19_weights: str = ""
    """torchvision's VGG19 as .pth or .safetensors: an https:// URL, or an absolute path on every worker's machine."""
    vgg19_sha256: str = ""
    """SHA-256 (hex) that file must have; a URL needs it, a path may go without."""
    recursion: str = "unrolled"
    """How the recursive passes learn: unrolled (through all of them, as published) or truncated (each image by one pass, from
    what a number of earlier ones made of it: little more than the cost of one pass)."""
    passes: float = 0.5
    """Weight of an earlier unrolled pass relative to the next one; 0 supervises the last pass alone."""

    def __post_init__(self) -> None:
        if self.pixel not in PIXEL:
            raise ConfigError(f"loss.pixel: {self.pixel!r} is not one of {', '.join(PIXEL)}; choose one of them")
        if self.recursion not in RECURSION:
            raise ConfigError(f"loss.recursion: {self.recursion!r} is not one of {', '.join(RECURSION)}; choose one of them")
        for name in ("ssim", "contrastive", "passes"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"loss.{name}: {getattr(self, name)} is not a weight; give a number of 0 or more")
        if self.prior not in PRIORS:
            raise ConfigError(f"loss.prior: {self.prior!r} is not one of {', '.join(PRIORS)}; choose one of them")
        for name in ("levels", "patches", "projection"):
            if getattr(self, name) < 1:
                raise ConfigError(f"loss.{name}: {getattr(self, name)} is below 1; give a positive whole number")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"loss.temperature: {self.temperature} is not above 0; give a positive number")
        self._require_features()

    def _require_features(self) -> None:
        if self.features not in FEATURES:
            raise ConfigError(f"loss.features: {self.features!r} is not one of {', '.join(FEATURES)}; choose one of them")
        if self.vgg19_sha256 and not re.fullmatch("[0-9a-f]{64}", self.vgg19_sha256):
            raise ConfigError(f"loss.vgg19_sha256: {self.vgg19_sha256!r} is not 64 digits 0-9, a-f; give what `sha256sum` says")
        if self.features != "vgg19":
            return
        if not self.vgg19_weights:
            raise ConfigError("loss.vgg19_weights: '' and loss.features is vgg19; name a file or URL, or choose encoder")
        remote = self.vgg19_weights.startswith("https://")
        if not remote and not self.vgg19_weights.startswith(("/", "~/")):  # workers run in folders of their own
            raise ConfigError(
                f"loss.vgg19_weights: {self.vgg19_weights!r} is neither an absolute path nor an https:// URL; give one"
            )
        if remote and not self.vgg19_sha256:
            raise ConfigError("loss.vgg19_sha256: '' and the weights come from a URL; give what `sha256sum` says of that file")

    @property
    def needs_vgg19(self) -> bool:
        """Whether VGG19 is part of the loss."""
        return self.features == "vgg19" and self.contrastive > 0

    @property
    def described(self) -> str:
        """The loss in one line, as a run says it."""
        if not self.contrastive:
            return f"loss {self.pixel}, no contrastive prior"
        space = "VGG19" if self.needs_vgg19 else "the network's own encoder"
        return f"loss {self.pixel}, contrastive prior {self.prior} over {self.levels} levels of {space}"

    def require_levels(self, taps: int) -> None:
        """Raise ConfigError where the prior is to see more levels than VGG19 or, with its ``taps``, the network has."""
        owner, most = ("VGG19", len(TAPS)) if self.features == "vgg19" else ("the network", taps)
        if self.contrastive and self.levels > most:
            raise ConfigError(f"loss.levels: {self.levels} exceeds the {most} levels that {owner} has; lower it")


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


class Objective(nn.Module):
    """The network and its loss in one module, so that data-parallel training wraps a single forward."""

    def __init__(self, network: Restorer, config: LossConfig, seed: int = 0) -> None:
        """Weights of the prior's head come from torch's generator, the places it looks at from ``seed``.

        Raises ConfigError for more levels than there are, ServiceError or CheckpointError for VGG19 weights that cannot be
        had or read.
        """
        super().__init__()
        config.require_levels(network.config.taps)
        self.network = network
        self.config = config
        self.vgg19 = load_vgg19(config.vgg19_weights, config.vgg19_sha256, config.levels) if config.needs_vgg19 else None
        self.prior = self._make_prior(seed) if config.contrastive else None

    @property
    def heads(self) -> nn.Module:
        """What learns with the network and is no part of it."""
        return self.prior.heads if isinstance(self.prior, InfoNCE) else nn.ModuleList()

    def forward(self, rainy: Tensor, clean: Tensor, first: int = 0) -> dict[str, Tensor]:
        """Scalars of a batch whose first image is at position ``first`` of the stream.

        ``loss`` is what training lowers: ``pixel`` (a weighted mean over unrolled passes) and, each times its weight and of the
        last estimate, ``ssim`` (which is 1 - SSIM) and ``contrastive``; those of no weight are absent. InfoNCE adds
        ``mi_bound``, in nats, to be looked at.
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
        projection = config.projection if self.vgg19 is None else None  # VGG19's are a representation already
        return InfoNCE(channels, weights, config.temperature, config.patches, projection, seed)
