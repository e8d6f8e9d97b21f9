"""The optimisers of the weights, and the learning rate of a step.

``muon`` learns the spatial convolutions by Muon (Jordan et al., 2024) and everything else by AdamW. Muon replaces a matrix's
averaged gradient by the nearest matrix whose directions all have the same length. Directions that a batch shows rarely, such as
those of faint streaks, so move as far as the loud ones (docs/decisions/0015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import overload

import torch
from torch import Tensor, nn

from rdmc.training.config import TrainConfig

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic polynomial whose iteration moves all singular values near 1 (Jordan et al., 2024)."""
RMS = 0.2
"""Root mean square of an update of AdamW. Muon's are scaled to it, so one learning rate serves both (arXiv 2502.16982)."""


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum. A kernel of (outputs, inputs, height, width) is a matrix with a row for each output."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient. Return what ``closure`` returns, which computes the gradients before."""
        with torch.enable_grad():
            loss = closure() if closure else None
        with torch.no_grad():
            self._step()
        return loss

    def _step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"], group["weight_decay"])

    def _move(self, parameter: Tensor, gradient: Tensor, lr: float, decay: float) -> None:
        state = self.state[parameter]
        momentum = state.setdefault("momentum", torch.zeros_like(gradient))
        momentum.lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)
        update = orthogonalised(matrix).view(parameter.shape)
        parameter.mul_(1 - lr * decay).add_(update, alpha=-lr * RMS * math.sqrt(max(matrix.shape)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return the matrix, (rows, columns), with singular values between about 0.7 and 1.2. Computed in the matrix's precision.

    A singular value below a few thousandths of the matrix's norm ends lower. A matrix of zeros stays as it is.
    """
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def optimisers(learnt: Mapping[str, nn.Parameter], config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return the optimisers of the recipe. Each parameter has one of them."""
    kernels = [p for p in learnt.values() if config.optimiser == "muon" and p.ndim == 4 and p[0, 0].numel() > 1]
    known = set(kernels)
    others = [p for p in learnt.values() if p not in known]
    found: list[torch.optim.Optimizer] = []
    if kernels:
        found.append(Muon(kernels, lr=config.lr, weight_decay=config.weight_decay))
    if others:
        found.append(torch.optim.AdamW(others, lr=config.lr, weight_decay=config.weight_decay, fused=True))
    return found


def moments(optimiser: torch.optim.Optimizer) -> tuple[str, ...]:
    """Return the names of the averages that an optimiser keeps of each parameter, in its state."""
    return ("momentum",) if isinstance(optimiser, Muon) else ("exp_avg", "exp_avg_sq")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of step 0, 1, …: linear warm-up, then half a cosine down to zero at ``config.steps``."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
