"""The cost of a network, found from its config alone: only shapes are computed, no values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

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

    Interpolation counts as free, as it does in published figures and in torch's own formulas. RDMC's upsampling is written
    as convolutions or matrix products, so plain interpolation stands in for it here.
    """
    with torch.inference_mode(False), torch.device("meta"), torch.no_grad():  # in that mode, whole operations go by uncounted
        network = build(config)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        for name in [name for name, module in network.named_modules() if isinstance(module, Upsample)]:
            network.set_submodule(name, nn.Upsample(scale_factor=2, mode="bilinear"))
        with _Arithmetic() as arithmetic:
            network(torch.empty(1, 3, height, width))
    return Cost(parameters, arithmetic.flop / 1e9)


class _Arithmetic(TorchDispatchMode):
    """Adds up what torch's formulas say of each operation, in this thread alone.

    torch's ``FlopCounterMode`` also follows modules, by hooks that are global: a network at work in another thread changed
    its counts.
    """

    flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.flop += formula(*args, **(kwargs or {}), out_val=out)
        return out
