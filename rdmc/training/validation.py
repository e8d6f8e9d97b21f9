"""Figures of a network over whole images, while it trains."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import nn

from rdmc.data.loader import PairStore
from rdmc.data.sampling import rank_indices
from rdmc.inference import derain_images
from rdmc.metrics import Means, measure_luma

FIGURES = ("psnr_y", "ssim_y")
TOGETHER = 8
"""The most images that a GPU derains at once. A CPU derains one at a time, so that its figures are the same to the last bit."""
MEASURING = max(1, min(8, (os.cpu_count() or 1) // 2))
"""Threads that measure images while the device derains the next ones."""
WAITING = 32
"""The most images, or a few more, that wait to be measured."""


def validate(network: nn.Module, pairs: PairStore, device: torch.device, rank: int = 0, world: int = 1) -> Means:
    """Return psnr_y (dB) and ssim_y of ``network`` over the pairs of ``rank``; each pair belongs to exactly one rank."""
    together = TOGETHER if device.type == "cuda" else 1
    indices = rank_indices(len(pairs), rank, world)
    means = Means()
    with ThreadPoolExecutor(MEASURING, "rdmc-measure") as pool:
        waiting: list[Future[dict[str, float]]] = []
        for start in range(0, len(indices), together):
            group = [pairs[index] for index in indices[start : start + together]]
            derained = derain_images(network, [pair.rainy for pair in group], device=device)
            if len(waiting) > WAITING:
                waiting[-WAITING].result()  # pictures wait in memory until they are measured
            waiting += [pool.submit(measure_luma, one, pair.clean) for one, pair in zip(derained, group, strict=True)]
        for future in waiting:
            means.add(future.result())
    return means
