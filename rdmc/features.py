"""Feature spaces of the contrastive prior.

The default one needs no download: the network's own three encoders, with the image as both rainy input and estimate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdmc.network import RDMC, pad_to_multiple


class _Features(nn.Module):
    """The network's encoders as a module of their own, so that they can be called with other (constant) weights."""

    def __init__(self, network: RDMC) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, levels: int) -> list[Tensor]:
        return self.network.features(x, levels)


def encoder_features(network: RDMC, image: Tensor, levels: int) -> list[Tensor]:
    """The first ``levels`` encoder levels of an image (N, 3, H, W), level l of (N, 3 * width * 2**l, h / 2**l, w / 2**l).

    The weights are constants here: the gradient reaches the image but not the encoders, which could otherwise please the
    prior by making all features alike. So are batch norm's statistics, the running ones: all images are measured alike, and
    none of them leaves a trace.
    """
    x = F.pixel_unshuffle(pad_to_multiple(image, network.config.multiple), network.config.stem)
    module = _Features(network)
    frozen = {name: weight.detach() for name, weight in module.named_parameters()}
    training = network.training
    network.encoders.eval()
    try:
        found: list[Tensor] = torch.func.functional_call(module, frozen, (torch.cat([x, x], 1), levels))
    finally:
        network.encoders.train(training)
    return found
