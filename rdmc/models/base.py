"""The interface of every network: rainy images in, an estimate of the clean images after each pass out."""

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
    """Whether training keeps only the values between passes and recomputes each pass during backpropagation. This is about a
    third slower and needs the memory of one pass instead of all."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, rainy: Tensor) -> Tensor:
        """Return the last estimate, (N, 3, H, W)."""
        return self.estimates(rainy)[-1]

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        """Return the estimate after every pass, each (N, 3, H, W). A network without recursion returns one."""
        raise NotImplementedError

    def truncated(self, rainy: Tensor, first: int = 0) -> list[Tensor]:
        """Return the estimates that a training step learns from if gradients reach one recursive pass only, each (N, 3, H, W).

        A network without recursion, or whose passes hand on more than an estimate, returns all estimates. The first image is
        at position ``first`` of the stream.
        """
        return self.estimates(rainy)

    def features(self, image: Tensor, levels: int) -> list[Tensor]:
        """Return the encoder's first ``levels`` levels for an image (N, 3, H, W), finest first; for the contrastive prior."""
        raise NotImplementedError


def place(network: nn.Module, device: str | torch.device) -> None:
    """Move a network to its device, with convolution weights in channels-last layout (measured in docs/benchmarks.md).

    A network that is placed already is not touched, so that several threads may use it at the same time.
    """
    wanted = torch.device(device)
    kinds = {tensor.device.type for tensor in (*network.parameters(), *network.buffers())}
    if kinds != {wanted.type} or wanted.index is not None:
        network.to(wanted)
    for parameter in network.parameters():
        if not parameter.data.is_contiguous(memory_format=layout(parameter)):
            parameter.data = parameter.data.contiguous(memory_format=layout(parameter))


def layout(parameter: Tensor) -> torch.memory_format:
    """Return the memory layout of a parameter. Its moments have the same one, so that a resumed step is bit-identical."""
    return torch.channels_last if parameter.dim() == 4 else torch.contiguous_format


def recomputed(network: Restorer, run: Callable[..., Any], *inputs: Tensor) -> Any:
    """Return ``run(*inputs)``; its activations are kept, or recomputed during backpropagation if ``network.recompute``."""
    if network.recompute and network.training and torch.is_grad_enabled():
        return checkpoint(
            run, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=partial(_contexts, network)
        )  # no pass draws random numbers
    return run(*inputs)


def _contexts(network: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts for the first computation of a pass and for its recomputation."""
    return nullcontext(), statistics_kept(network)


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Keep batch norm's running statistics unchanged, for passes that are computed twice or not learnt from."""
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
    """Extend (N, C, H, W) at the right and bottom to multiples of ``multiple``, mirrored if the image is large enough.

    A smaller image repeats its last row and column.
    """
    height, width = x.shape[-2:]
    if torch.compiler.is_exporting():
        return _padded_by_index(x, multiple)
    right, bottom = -width % multiple, -height % multiple
    if not right and not bottom:
        return x
    mode = "reflect" if right < width and bottom < height else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode)


def cropped(x: Tensor, height: int, width: int) -> Tensor:
    """Return the upper left (N, C, height, width) of (N, C, H, W)."""
    if torch.compiler.is_exporting():  # a slice would be traced with the constants of the one traced size
        return x.index_select(2, torch.arange(height, device=x.device)).index_select(3, torch.arange(width, device=x.device))
    return x[..., :height, :width]


def _padded_by_index(x: Tensor, multiple: int) -> Tensor:
    """Do what ``pad_to_multiple`` does without a branch on the size, so that one graph serves every size."""
    sides = [(side, (side + multiple - 1) // multiple * multiple) for side in x.shape[-2:]]  # no negative //: ONNX truncates
    fits = [torch.scalar_tensor(2 * side - whole, device=x.device) > 0 for side, whole in sides]
    mirrored = torch.logical_and(*fits)
    for dim, (side, whole) in enumerate(sides, 2):
        line, last = torch.arange(whole, device=x.device), side - 1
        index = torch.where(mirrored, (last - (line - last).abs()).clamp(min=0), line.clamp(max=last))
        x = x.index_select(dim, index)
    return x
