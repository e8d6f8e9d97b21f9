"""Load weights published by other authors: a bare state dict in a ``.pth`` file. Its tensors' names identify the network."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from rdmc.checkpoint import restored
from rdmc.errors import CheckpointError, one_line
from rdmc.models.base import Restorer
from rdmc.models.baselines import PReNet, PReNetConfig


def load_published(path: Path) -> Restorer:
    """Return the network of a published file, in evaluation mode on the CPU. Nothing in the file is executed.

    PReNet (csdwren/PReNet, its model of six passes) of any width is recognised. A state dict does not state the number of
    passes.

    Raises CheckpointError if the file is missing or damaged, or contains anything else than the tensors of a known network.
    """
    weights = _state_dict(path)
    with torch.device("meta"):
        names = set(PReNet(PReNetConfig(width=1)).state_dict())
    if set(weights) != names:
        odd = sorted(set(weights) ^ names)[0]
        what = "has no" if odd in names else "has"
        raise CheckpointError(
            f"{path}: {what} tensor {odd!r}: not PReNet, the one network known by its tensors; name its weights"
        )
    return restored(PReNetConfig(width=max(1, weights["conv0.0.bias"].numel())), weights, path)


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = one_line(error)
        raise CheckpointError(f"{path}: not weights that can be read ({reason}); name a state dict that torch saved") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: holds other things than named tensors; save the network's state dict alone")
    return {str(name): tensor for name, tensor in found.items()}
