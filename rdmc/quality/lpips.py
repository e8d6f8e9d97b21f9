"""LPIPS, the learned perceptual image patch similarity: how far two images are from each other in a network's features.

Zhang, Isola, Efros, Shechtman and Wang, The unreasonable effectiveness of deep features as a perceptual metric, CVPR 2018.
This is their version 0.1. At each tap of a classification network the features are scaled to length 1 at every position; the
squared differences are weighted by channel, averaged over the positions, and added up. 0 for equal images, and lower is better.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from rdmc.errors import CheckpointError
from rdmc.models.published import state_dict
from rdmc.quality.backbones import ALEXNET, VGG16, Backbone, BackboneLayout, finite

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's mean and deviation of R, G, B for images of -1 to 1, rounded as the authors rounded them."""
TINY = 1e-10
LAYER = re.compile(r"lin(\d+)\.model\.[01]\.weight")
"""The names of the authors' channel weights; the number in the middle depends on whether dropout stands before them."""


class LPIPS(nn.Module):
    """The measure, from a backbone and the weights of its channels at each tap: (width) each."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone, weights: list[Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.weights = nn.ParameterList(nn.Parameter(one.float()[:, None, None], False) for one in weights)
        for name, values in (("shift", SHIFT), ("scale", SCALE)):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distances (N) of images (N, 3, H, W), RGB, 0 to 1, with sides of 32 pixels or more."""
        total = torch.zeros(len(a), device=a.device)
        for one, other, weight in zip(self._features(a), self._features(b), self.weights, strict=True):
            total = total + (weight * (_unit(one) - _unit(other)) ** 2).sum(1).mean((1, 2))
        return total

    def _features(self, image: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.backbone((2 * image - 1 - self.shift) / self.scale)
        return found


def read_linear(path: Path) -> tuple[BackboneLayout, list[Tensor]]:
    """Return the backbone that the authors' channel weights belong to, and the weights: (width) for each tap.

    The file is ``alex.pth`` or ``vgg.pth`` of version 0.1 (the package lpips; torchmetrics has the same). Tensors beside the
    channel weights are ignored. Raises CheckpointError for a file that cannot be read or has other weights.
    """
    cure = "name alex.pth or vgg.pth of LPIPS 0.1"
    named = {int(match[1]): tensor for name, tensor in state_dict(path).items() if (match := LAYER.fullmatch(name))}
    shapes = [tuple(named[number].shape) for number in sorted(named)]
    for layout in (ALEXNET, VGG16):
        if shapes == [(1, width, 1, 1) for width in layout.widths]:
            finite({f"lin{number}": tensor for number, tensor in named.items()}, path)
            return layout, [named[number].flatten() for number in sorted(named)]
    widths = ", ".join(f"{layout.title}: {layout.widths}" for layout in (ALEXNET, VGG16))
    raise CheckpointError(
        f"{path}: its channel weights are {shapes or 'missing'}, the rule is (1, width, 1, 1), {widths}; {cure}"
    )


def _unit(features: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + TINY)
