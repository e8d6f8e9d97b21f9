from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """The recipe. ``global_batch_size`` is the batch over all workers; how many there are is a setting."""

    steps: int = 1000
    """Optimiser steps."""
    global_batch_size: int = 8
    """Crops a step, over all workers."""
    crop: int = 96
    """Height and width of a training crop in pixels."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    warmup_steps: int = 50
    """Steps of linear warm-up before the cosine decay to zero."""
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    ema_decay: float = 0.99
    """Decay of the averaged weights, which are the ones validated and kept."""
    precision: str = "fp32"
    """fp32, or bf16 for autocast: faster where the hardware multiplies bf16 (GPUs, AVX512-BF16 and AMX), slower elsewhere."""
    validate_every: int = 100
    """Steps between validations; each may save a checkpoint."""
