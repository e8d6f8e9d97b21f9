"""How a device computes a training: nothing here changes what is learned, beyond rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Speed:
    """What speeds a training up on a GPU. A CPU ignores ``record``."""

    compile: bool = False
    """Whether torch.compile makes fused kernels of the network and its loss. The first step then takes a minute or more."""
    record: bool = True
    """Whether a GPU repeats a recorded step (a CUDA graph), where every step does the same work on one GPU."""


USUAL = Speed()


def prepare(device: torch.device) -> dict[str, str]:
    """Choose the arithmetic of a process on ``device`` and return the choice, to be recorded with a run.

    A GPU multiplies fp32 as TF32 (10 bits of mantissa, sums in fp32) and tries the algorithms of each convolution once.
    """
    torch.set_flush_denormal(True)  # tiny residuals of an untrained network are denormal: eight times slower on CPUs
    if device.type != "cuda":
        return {"device": "cpu"}
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True
    return {"device": torch.cuda.get_device_name(device), "fp32": "TF32", "cudnn": "benchmark"}
