"""Batch normalisation whose statistics are those of the global batch, however many workers share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn


class BatchNorm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` for (N, C, H, W), with the mean and variance of all ranks' values while it trains.

    Every rank has as many images, as ``rdmc.data.sampling`` divides a batch. So results, gradients and running statistics are
    those of one process that has the whole batch, up to rounding, and the running statistics are the same on each rank.
    Torch's own SyncBatchNorm does not run on CPUs. The state has the names and shapes of ``nn.BatchNorm2d``.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W), in training by the statistics of the batch of all ranks; the dtype stays."""
        world = _ranks() if self.training else 1
        if world == 1:
            return super().forward(x)
        values = x.float()
        mean = _mean_of_ranks(values.mean((0, 2, 3)))
        centred = values - mean[:, None, None]
        variance = _mean_of_ranks(centred.square().mean((0, 2, 3)))
        self._track(mean, variance, world * x.numel() // x.shape[1])
        scaled = centred * (self.weight * (variance + self.eps).rsqrt())[:, None, None] + self.bias[:, None, None]
        return scaled.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics as ``nn.BatchNorm2d`` does; ``count``: values a channel, over all ranks."""
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


def _mean_of_ranks(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all ranks. Its gradient reaches each rank's tensor from the losses of all of them."""
    apply: Callable[[Tensor], Tensor] = _MeanOfRanks.apply
    return apply(values)


class _MeanOfRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _averaged(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _averaged(gradient)


def _ranks() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _averaged(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total / _ranks()
