"""The peak memory of deraining one image, measured in a process of its own on a CPU, and by CUDA's own counter on a GPU."""

from __future__ import annotations

import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import torch

from rdmc.errors import CheckpointError
from rdmc.inference import derain_values
from rdmc.models.base import Restorer

SIDE = 512
"""Height and width in pixels of the image for which the peak is stated."""
STATUS = Path("/proc/self/status")


def peak_mb(network: Restorer, device: torch.device, side: int = SIDE) -> float | None:
    """Return the MB (1e6 bytes) that one image of ``side`` by ``side`` pixels takes above the loaded weights.

    None if the network's output is not finite.
    """
    if device.type == "cuda":
        return _run(network, side, device)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run, network, side, device, torch.get_num_threads()).result()


def _run(network: Restorer, side: int, device: torch.device, threads: int = 0) -> float | None:
    if threads:
        torch.set_num_threads(threads)
    image = np.full((side, side, 3), 128, np.uint8)
    try:
        derain_values(network, image[:64, :64], device=device)  # loads what the first pass loads
        before = _now(device)
        derain_values(network, image, device=device)
    except CheckpointError:
        return None
    return max(0.0, (_peak(device) - before) / 1e6)


def _now(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def _peak(device: torch.device) -> int:
    """The most bytes so far. Linux counts them for this program alone in its status file; getrusage includes its parent's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.is_file():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
