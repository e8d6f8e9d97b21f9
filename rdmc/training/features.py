"""Feature spaces of the contrastive prior.

The default needs no download: it is the network's own encoder, with the image as both the rainy input and the estimate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rdmc.models.base import Restorer


class _Features(nn.Module):
    """The network's encoders as a separate module, so that they can be called with other (constant) weights."""

    def __init__(self, network: Restorer) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, levels: int) -> list[Tensor]:
        return self.network.features(x, levels)


def encoder_features(network: Restorer, image: Tensor, levels: int) -> list[Tensor]:
    """Return the first ``levels`` levels of a network's encoder for an image (N, 3, H, W), finest first.

    The weights are constants here: the gradient reaches the image but not the encoders. Otherwise the encoders could satisfy
    the prior by making all features alike. Batch norm uses its running statistics and does not update them, so every image
    is measured in the same way.
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
