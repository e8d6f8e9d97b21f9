"""Feature spaces of the contrastive prior.

The default one needs no download: the network's own encoder, with the image as both rainy input and estimate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rdmc.models.base import Restorer


class _Features(nn.Module):
    """The network's encoders as a module of their own, so that they can be called with other (constant) weights."""

    def __init__(self, network: Restorer) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, levels: int) -> list[Tensor]:
        return self.network.features(x, levels)


def encoder_features(network: Restorer, image: Tensor, levels: int) -> list[Tensor]:
    """The first ``levels`` levels of a network's encoder on an image (N, 3, H, W), finest first.

    The weights are constants here: the gradient reaches the image but not the encoders, which could otherwise please the
    prior by making all features alike. So are batch norm's statistics, the running ones: all images are measured alike, and
    none of them leaves a trace.
    """
    module = _Features(network)
    frozen = {name: weight.detach() for name, weight in module.named_parameters()}
    training = network.training
    network.eval()
    try:
        found: list[Tensor] = torch.func.functional_call(module, frozen, (image, levels))
    finally:
        network.train(training)
    return found
