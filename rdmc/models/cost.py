"""The cost of a network, found from its config alone: only shapes are computed, no values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from rdmc.models.blocks import Upsample
from rdmc.models.factory import NetworkConfig, build

SIDE = 256
"""Height and width in pixels of the image for which a cost is stated, as in the field's tables."""


@dataclass(frozen=True)
class Cost:
    """Size and arithmetic of a network."""

    parameters: int
    """Learned numbers; all passes share them."""
    gflop: float
    """1e9 floating-point operations to derain one image, in all passes: two for each multiply-add of the convolutions."""

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.3g} M parameters, {self.gflop:.3g} GFLOP"


def cost(config: NetworkConfig, height: int = SIDE, width: int = SIDE) -> Cost:
    """Return the cost of a network of ``config`` on one image of ``height`` by ``width`` pixels.

    Interpolation counts as free, as it does in published figures and in torch's own counter. RDMC's upsampling is written
    as convolutions or matrix products here, so it is left out of the count as well.
    """
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = build(config)
        network(torch.empty(1, 3, height, width))
    counts = counter.get_flop_counts()
    free = [name for name, module in network.named_modules() if isinstance(module, Upsample)]
    interpolation = sum(sum(counts[f"{type(network).__name__}.{name}"].values()) for name in free)
    total = counter.get_total_flops() - interpolation
    return Cost(sum(parameter.numel() for parameter in network.parameters()), total / 1e9)
