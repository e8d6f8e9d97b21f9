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
from torch.nn import functional as F

from rdmc.training.config import TrainConfig

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic polynomial whose iteration moves all singular values near 1 (Jordan et al., 2024)."""
PADDED = 2**24
"""The most numbers in a group of matrices that are made orthogonal together."""
RMS = 0.2
"""Root mean square of an update of AdamW. Muon's are scaled to it, so one learning rate serves both (arXiv 2502.16982)."""


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum. A kernel of (outputs, inputs, height, width) is a matrix with a row for each output."""

    found_inf: Tensor | None = None
    """Above 0: the next step moves no parameter. torch's fused optimisers have the same attribute."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float | Tensor, weight_decay: float) -> None:
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
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            matrices = [self._averaged(parameter) for parameter in moved]
            for parameter, update in zip(moved, _orthogonalised_all(matrices), strict=True):
                rate = group["lr"] * RMS * math.sqrt(max(update.shape))
                kept, step = parameter * (1 - group["lr"] * group["weight_decay"]), update.view(parameter.shape)
                new = kept - step * rate if isinstance(rate, Tensor) else kept.add_(step, alpha=-rate)
                parameter.copy_(new if self.found_inf is None else torch.where(self.found_inf > 0, parameter, new))

    def _averaged(self, parameter: nn.Parameter) -> Tensor:
        """Update a parameter's momentum and return it, one gradient ahead (Nesterov), as a matrix."""
        gradient = _gradient(parameter)
        momentum: Tensor = self.state[parameter].setdefault("momentum", torch.zeros_like(gradient))
        momentum.lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM).flatten(1)


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise ValueError("a parameter without a gradient cannot move")
    return parameter.grad


def _orthogonalised_all(matrices: list[Tensor]) -> list[Tensor]:
    """Return ``orthogonalised`` of each matrix. On a GPU, matrices share products, padded with zeros, which stay zeros.

    There, a product of one small matrix takes no less time than one of many.
    """
    if not matrices or not matrices[0].is_cuda:
        return [orthogonalised(matrix) for matrix in matrices]
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    found = list(wide)
    for group in _groups([(each.shape[0], each.shape[1]) for each in wide]):
        rows, columns = (max(wide[index].shape[side] for index in group) for side in (0, 1))
        padded = [F.pad(wide[index], (0, columns - wide[index].shape[1], 0, rows - wide[index].shape[0])) for index in group]
        for index, update in zip(group, orthogonalised(torch.stack(padded)), strict=True):
            found[index] = update[: wide[index].shape[0], : wide[index].shape[1]]
    turned = [each if each.shape == matrix.shape else each.T for each, matrix in zip(found, matrices, strict=True)]
    return [each.contiguous() for each in turned]


def _groups(shapes: list[tuple[int, int]]) -> list[list[int]]:
    """Divide matrices, given by their shapes, into groups of at most ``PADDED`` numbers each when padded to one shape."""
    groups: list[list[int]] = []
    for index in sorted(range(len(shapes)), key=lambda index: shapes[index]):
        wider = [*groups[-1], index] if groups else [index]
        rows, columns = (max(shapes[each][side] for each in wider) for side in (0, 1))
        if groups and len(wider) * rows * columns <= PADDED:
            groups[-1] = wider
        else:
            groups.append([index])
    return groups


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix (rows, columns) with singular values between about 0.7 and 1.2, or each of several (N, rows, columns).

    A singular value below a few thousandths of the matrix's norm ends lower. A matrix of zeros stays as it is. The precision is
    that of the matrix.
    """
    a, b, c = COEFFICIENTS
    is_wide = matrix.shape[-2] <= matrix.shape[-1]
    wide = matrix if is_wide else matrix.mT
    x: Tensor = wide / torch.linalg.vector_norm(wide, dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if is_wide else x.mT


def optimisers(
    learnt: Mapping[str, nn.Parameter], config: TrainConfig, found_inf: Tensor | None = None
) -> list[torch.optim.Optimizer]:
    """Return the optimisers of the recipe. Each parameter has one of them.

    While ``found_inf``, a scalar on the parameters' device, is above 0, their steps move nothing. On a GPU their learning rate
    is a tensor, so that the host can change it without waiting for the steps before.
    """
    on_gpu = found_inf is not None and found_inf.is_cuda
    lr = torch.tensor(config.lr, device=found_inf.device) if found_inf is not None and on_gpu else config.lr
    kernels = [p for p in learnt.values() if config.optimiser == "muon" and p.ndim == 4 and p[0, 0].numel() > 1]
    known = set(kernels)
    others = [p for p in learnt.values() if p not in known]
    found: list[torch.optim.Optimizer] = []
    if kernels:
        found.append(Muon(kernels, lr=lr, weight_decay=config.weight_decay))
    if others:
        found.append(torch.optim.AdamW(others, lr=lr, weight_decay=config.weight_decay, fused=True, capturable=on_gpu))
    if found_inf is not None:
        for optimiser in found:
            skip_where(optimiser, found_inf)
    return found


def skip_where(optimiser: torch.optim.Optimizer, found_inf: Tensor) -> None:
    """Let a fused optimiser's steps move nothing while ``found_inf`` is above 0. torch's read this attribute, as Muon does."""
    vars(optimiser)["found_inf"] = found_inf


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, in place where it is a tensor."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def moments(optimiser: torch.optim.Optimizer) -> tuple[str, ...]:
    """Return the names of the averages that an optimiser keeps of each parameter, in its state."""
    return ("momentum",) if isinstance(optimiser, Muon) else ("exp_avg", "exp_avg_sq")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of step 0, 1, …: linear warm-up, then half a cosine down to zero at ``config.steps``."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
