"""Load weights published by other authors: a state dict, pickled or as safetensors. Its tensors' names identify the network."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rdmc.checkpoint import restored
from rdmc.errors import CheckpointError
from rdmc.models.base import Restorer
from rdmc.models.baselines import PReNet, PReNetConfig

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "net", "model", "network")
"""Keys under which training programs store a state dict, beside optimiser states and the like. The first one present counts:
of two sets of weights, BasicSR's averaged ones (``params_ema``) are those it tests with."""
PREFIXES = ("module", "_orig_mod", "model", "net", "network")
"""What DataParallel, torch.compile and training programs put before every tensor's name."""
SAVE = "save the state dict alone: torch.save(model.state_dict(), 'weights.pth')"
OBJECTS = ("Unsupported global", "nsupported class", "unrecognized function", "Can only build", "Can only create")
"""Words of torch's errors for a file whose pickle asks for other objects than tensors."""
LOOK = 512
"""Bytes at the beginning of a file that show what it is."""


def load_published(path: Path) -> Restorer:
    """Return the network of a published file, in evaluation mode on the CPU. Nothing in the file is executed.

    PReNet (csdwren/PReNet, its model of six passes) of any width is recognised. A state dict does not state the number of
    passes. It may lie under one of ``WRAPPERS``, and its names may have ``PREFIXES``.

    Raises CheckpointError if the file is missing or damaged, or contains anything else than the tensors of a known network.
    """
    weights = state_dict(path)
    with torch.device("meta"):
        names = set(PReNet(PReNetConfig(width=1)).state_dict())
    if set(weights) != names:
        odd = sorted(set(weights) ^ names)[0]
        what = "has no" if odd in names else "has"
        raise CheckpointError(
            f"{path}: {what} tensor {odd!r}: not PReNet, the one network known by its tensors; name its weights"
        )
    return restored(PReNetConfig(width=max(1, weights["conv0.0.bias"].numel())), weights, path)


def state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a published file by name, on the CPU, without ``WRAPPERS`` and ``PREFIXES``.

    A file whose name ends with ``.safetensors`` is read as that, any other as torch saves it, and then tensors alone are
    unpickled. Raises CheckpointError if the file is missing or damaged, or contains anything else than named tensors.
    """
    _check_kind(path)
    damaged = f"{path}: not weights that can be read (damaged or cut short); download the file again"
    try:
        packed = path.suffix == ".safetensors"
        found = load_file(path) if packed else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text has escape sequences, and advises to run the file's code
        if any(words in str(error) for words in OBJECTS):
            raise CheckpointError(
                f"{path}: holds Python objects, such as a whole model, which are not loaded; {SAVE}"
            ) from None
        raise CheckpointError(f"{path}: not weights that can be read; name a state dict that torch saved") from None
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, AssertionError):
        raise CheckpointError(damaged) from None
    except SafetensorError:
        raise CheckpointError(damaged) from None
    weights = _unwrapped(found)
    if weights is None:
        raise CheckpointError(f"{path}: holds other things than named tensors; {SAVE}")
    return weights


def _check_kind(path: Path) -> None:
    """Raise CheckpointError, with what the file is, for files that are often taken for weights."""
    try:
        with path.open("rb") as file:
            head = file.read(LOOK)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; name a file of weights") from None
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise CheckpointError(f"{path}: not weights that can be read (zero bytes); download the file again")
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: a Git LFS pointer, which only names the weights; run `git lfs pull` where it is from")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(f"{path}: a web page, not weights; download the file itself, not the page that shows it")
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path}: the first part of a zip file, or one that is cut short; join the parts or download it again"
        )
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if not any(name.endswith("data.pkl") for name in names):
            inside = ", ".join(ascii(name) for name in names[:3])
            raise CheckpointError(f"{path}: an archive of other files ({inside}); unpack it and name the weights inside")


def _unwrapped(found: Any) -> dict[str, Tensor] | None:
    """Return the named tensors in what a file holds, without wrappers and prefixes; None if it holds none."""
    while isinstance(found, dict) and (
        inner := next((found[key] for key in WRAPPERS if isinstance(found.get(key), dict)), None)
    ):
        found = inner
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        return None
    weights = {str(name): tensor for name, tensor in found.items()}
    while weights and len(parts := {name.partition(".")[0] for name in weights}) == 1 and parts <= set(PREFIXES):
        weights = {name.partition(".")[2]: tensor for name, tensor in weights.items()}
    return weights
