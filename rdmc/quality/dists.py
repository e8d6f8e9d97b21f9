"""DISTS, deep image structure and texture similarity: like LPIPS, but tolerant of texture that is drawn again.

Ding, Ma, Wang and Simoncelli, Image quality assessment: unifying structure and texture similarity, IEEE TPAMI 2020 (arXiv
2004.07728). The image itself and five taps of VGG16, with a blurred L2 pooling in place of max pooling, are compared by
channel: the means over all positions (texture) and the covariance (structure). 0 for equal images, and lower is better.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.checkpoint import load_weights
from rdmc.models.published import state_dict
from rdmc.quality.backbones import VGG16, Backbone, finite

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB, 0 to 1, which the weights expect."""
WIDTHS = (3, *VGG16.widths)
"""The channels that are compared: of the image, and of each tap."""
STABLE = 1e-6
"""Keeps the ratios of small means and variances from growing (the paper's c1 and c2)."""
HANN = (0.25, 0.5, 0.25)
"""The pooling's window along one side."""


class L2Pool(nn.Module):
    """The root of the windowed mean of squares, at every second position: (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        hann = torch.tensor(HANN)
        self.register_buffer("window", torch.outer(hann, hann)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The pooled features."""
        channels = x.shape[1]
        power = F.conv2d(x**2, self.window.expand(channels, 1, -1, -1), stride=2, padding=1, groups=channels)
        return (power + 1e-12).sqrt()


class DISTS(nn.Module):
    """The measure. ``alpha`` weighs texture and ``beta`` structure, each (1, sum of WIDTHS, 1, 1), as the authors save them."""

    alpha: Tensor
    beta: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Backbone) -> None:
        """``backbone``: VGG16 with ``L2Pool``."""
        super().__init__()
        self.backbone = backbone
        for name in ("alpha", "beta"):
            self.register_parameter(name, nn.Parameter(torch.ones(1, sum(WIDTHS), 1, 1), False))
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distances (N) of images (N, 3, H, W), RGB, 0 to 1, with sides of 32 pixels or more."""
        texture, structure = [], []
        for one, other in zip(self._features(a), self._features(b), strict=True):
            mean_a, mean_b = one.mean((2, 3)), other.mean((2, 3))
            texture.append((2 * mean_a * mean_b + STABLE) / (mean_a**2 + mean_b**2 + STABLE))
            off_a, off_b = one - mean_a[..., None, None], other - mean_b[..., None, None]
            variances = (off_a**2).mean((2, 3)) + (off_b**2).mean((2, 3))
            structure.append((2 * (off_a * off_b).mean((2, 3)) + STABLE) / (variances + STABLE))
        alpha, beta = self.alpha.flatten(), self.beta.flatten()
        similar = (torch.cat(texture, 1) * alpha + torch.cat(structure, 1) * beta).sum(1)
        return 1 - similar / (alpha.sum() + beta.sum())

    def _features(self, image: Tensor) -> list[Tensor]:
        return [image, *self.backbone((image - self.mean) / self.deviation)]


def load_dists(backbone: Backbone, path: Path) -> DISTS:
    """Return the measure with the weights that the authors publish as ``weights.pt``: ``alpha`` and ``beta``.

    Raises CheckpointError for a file that cannot be read or has other weights.
    """
    found = DISTS(backbone)
    own = {name: tensor for name, tensor in found.state_dict().items() if name not in ("alpha", "beta")}
    load_weights(found, {**own, **finite(state_dict(path), path)}, path, "name weights.pt of DISTS, with alpha and beta")
    return found.eval()
