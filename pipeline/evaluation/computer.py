"""What computes: the words for reports, by which figures of one machine and another are told apart."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch


def computer(device: torch.device) -> str:
    """Return the name of the GPU or processor of ``device``, its threads, and the versions of torch and Python."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{_name(device)}, {torch.get_num_threads()} threads, {versions}"


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"CPU ({_processor()}, {cores} cores)"


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
