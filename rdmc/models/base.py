"""What every network here is: rainy images in, an estimate of the clean ones after each of its passes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Restorer(nn.Module):
    """Base of the networks. Images are (N, 3, H, W), RGB, 0 to 1, any height and width; estimates are not clamped."""

    recompute = False
    """Whether training keeps only what lies between passes and computes each pass again in the backward one: slower by
    about a third, and the memory of one pass instead of all."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, rainy: Tensor) -> Tensor:
        """The last estimate, (N, 3, H, W)."""
        return self.estimates(rainy)[-1]

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """The estimate after every pass, each (N, 3, H, W); networks without recursion give one."""
        raise NotImplementedError

    def truncated(self, rainy: Tensor, first: int = 0) -> list[Tensor]:
        """What a training step learns from where gradients reach one pass of the recursion only, each (N, 3, H, W).

        All estimates, for a network without recursion or whose passes hand on more than an estimate. The first image is at
        position ``first`` of the stream.
        """
        return self.estimates(rainy)

    def features(self, image: Tensor, levels: int) -> list[Tensor]:
        """The first ``levels`` levels of the network's own encoder on (N, 3, H, W), finest first; for the contrastive prior."""
        raise NotImplementedError


def place(network: nn.Module, device: str | torch.device) -> None:
    """Put a network on its device, convolution weights channels last (measured in docs/benchmarks.md)."""
    network.to(device)
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous(memory_format=layout(parameter))


def layout(parameter: Tensor) -> torch.memory_format:
    """How a parameter lies in memory; its moments do too, so that a resumed step is the very same one."""
    return torch.channels_last if parameter.dim() == 4 else torch.contiguous_format


def recomputed(network: Restorer, run: Callable[..., Any], *inputs: Tensor) -> Any:
    """``run(*inputs)``, kept or computed again in the backward pass as ``network.recompute`` says."""
    if network.recompute and network.training and torch.is_grad_enabled():
        return checkpoint(run, *inputs, use_reentrant=False, context_fn=partial(_contexts, network))
    return run(*inputs)


def _contexts(network: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What holds while a pass is computed, and while it is computed again."""
    return nullcontext(), statistics_kept(network)


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """What is computed twice, or not learnt from, must not count in the running statistics of batch norm."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Extend (N, C, H, W) at the right and bottom, by mirroring where the image is large enough, to multiples."""
    height, width = x.shape[-2:]
    if torch.compiler.is_exporting():
        return _padded_by_index(x, multiple)
    right, bottom = -width % multiple, -height % multiple
    if not right and not bottom:
        return x
    mode = "reflect" if right < width and bottom < height else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode)


def cropped(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left (N, C, height, width) of (N, C, H, W)."""
    if torch.compiler.is_exporting():  # a slice would be traced with what it meant for the one size that was traced
        return x.index_select(2, torch.arange(height, device=x.device)).index_select(3, torch.arange(width, device=x.device))
    return x[..., :height, :width]


def _padded_by_index(x: Tensor, multiple: int) -> Tensor:
    """``pad_to_multiple`` without a branch on the size, so that one graph serves every size."""
    sides = [(side, (side + multiple - 1) // multiple * multiple) for side in x.shape[-2:]]  # no negative //: ONNX truncates
    fits = [torch.scalar_tensor(2 * side - whole, device=x.device) > 0 for side, whole in sides]
    mirrored = torch.logical_and(*fits)
    for dim, (side, whole) in enumerate(sides, 2):
        line, last = torch.arange(whole, device=x.device), side - 1
        index = torch.where(mirrored, (last - (line - last).abs()).clamp(min=0), line.clamp(max=last))
        x = x.index_select(dim, index)
    return x
