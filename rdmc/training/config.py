"""The recipe of a training: batch, crops, optimiser and the course of its learning rate, each checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from rdmc.errors import ConfigError

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class TrainConfig:
    """The recipe. ``global_batch_size`` is the batch over all workers; how many there are is a setting."""

    steps: int = 1000
    """Optimiser steps."""
    global_batch_size: int = 8
    """Crops a step, over all workers."""
    crop: int = 96
    """Height and width of a training crop in pixels."""
    crops_per_decode: int = 1
    """Crops that are cut from a pair, over some tens of steps, before another takes its place: as many times less decoding."""
    shuffle_shards: int = 16
    """An epoch shuffles a dataset's shards, then the pairs within each so many of them: what a node needs at once."""
    weights: dict[str, float] = field(default_factory=dict)
    """How often a pair of a dataset, by name, is drawn compared to one of another; 1 where it is not named."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    warmup_steps: int = 50
    """Steps of linear warm-up before the cosine decay to zero."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    ema_decay: float = 0.99
    """Decay of the averaged weights, which are the ones validated and kept."""
    precision: str = "fp32"
    """fp32, or bf16 for autocast: faster where the hardware multiplies bf16 (GPUs, AVX512-BF16, AMX), slower elsewhere."""
    recompute: bool = False
    """Keep only what lies between the passes and compute each again for its gradients: less memory, more time."""
    validate_every: int = 100
    """Steps between validations; each saves a checkpoint."""

    def __post_init__(self) -> None:
        for name in ("steps", "global_batch_size", "crops_per_decode", "shuffle_shards", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name}: {getattr(self, name)} is below 1; give a positive whole number")
        if self.crop < 16:
            raise ConfigError(f"train.crop: {self.crop} is below 16, the least the network and SSIM can use; raise it")
        _check_weights(self.weights)
        for name in ("lr", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"train.{name}: {getattr(self, name)} is not above 0; give a positive number")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"train.weight_decay: {self.weight_decay} is below 0; give 0 or more")
        if not 0 <= self.warmup_steps <= self.steps:
            raise ConfigError(f"train.warmup_steps: {self.warmup_steps} is not within 0 to train.steps {self.steps}; lower it")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay: {self.ema_decay} is not within 0 to 1; give 0 to turn averaging off")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"train.precision: {self.precision!r} is not one of {', '.join(PRECISIONS)}; choose one of them")


def adamw(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of the recipe."""
    return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of step 0, 1, …: linear warm-up, then half a cosine down to zero at ``config.steps``."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _check_weights(weights: Mapping[str, float]) -> None:
    for dataset, weight in weights.items():
        if not 1e-6 <= weight <= 1e6:
            raise ConfigError(f"train.weights.{dataset}: {weight} is not within 1e-6 to 1e6; give a number near 1")
