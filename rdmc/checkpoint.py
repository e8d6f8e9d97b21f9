"""Weights on disk: safetensors and JSON, never pickle. They are written under a temporary name, then renamed.

A *model* is a folder with ``model.safetensors`` (weights) and ``model.json`` (the network's config and facts about the
training). ``rdmc.training.loop`` adds the optimiser's state to it, which makes a folder that training can resume from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rdmc.errors import CheckpointError, ConfigError
from rdmc.files import write_text
from rdmc.models.base import Restorer
from rdmc.models.factory import NetworkConfig, build, config_of

WEIGHTS, FACTS = "model.safetensors", "model.json"
CURE = "check `network` and `architecture` in params.yaml"
"""The advice for weights of another network, unless their owner has a better one."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Save tensors of any layout and device; shared memory is not kept."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Load what ``save_tensors`` wrote. Raises CheckpointError if the file is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {error}; train again with `dvc repro train` or name another checkpoint") from None


def read_json(path: Path) -> Any:
    """Return the JSON in ``path``. Raises CheckpointError if the file is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: {error}; train again with `dvc repro train` or name another checkpoint") from None


def write_model(folder: Path, config: NetworkConfig, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a model's two files into an existing folder (``rdmc.files.new_folder`` makes that atomic)."""
    save_tensors(folder / WEIGHTS, weights)
    write_text(folder / FACTS, json.dumps({"network": asdict(config), **facts}, indent=2, sort_keys=True) + "\n")


def load_model(folder: Path) -> tuple[Restorer, dict[str, Any]]:
    """Return the network of a model folder, in evaluation mode on the CPU, and the facts written with it.

    Raises CheckpointError for a missing or damaged folder, and for weights that do not fit the config.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder; train one with `make repro` or name another")
    facts = read_json(folder / FACTS)
    try:
        config = config_of(facts["network"])
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / FACTS}: not a network this version can build ({error}); train again") from None
    return restored(config, load_tensors(folder / WEIGHTS), folder / WEIGHTS), facts


def restored(config: NetworkConfig, weights: Mapping[str, Tensor], source: Path, cure: str = CURE) -> Restorer:
    """Return the network of a config with these weights, in evaluation mode on the CPU. The random state stays as it was.

    Raises CheckpointError as ``load_weights`` does.
    """
    with torch.random.fork_rng(devices=[]):
        network = build(config)
    load_weights(network, weights, source, cure)
    return network.eval()


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: Path, cure: str = CURE) -> None:
    """Copy ``weights`` into ``network``, in the network's own types: float16 becomes float32.

    Raises CheckpointError, which names ``source``, the first key or shape that does not fit, and the ``cure``.
    """
    expected = network.state_dict()
    for name in sorted(set(expected) ^ set(weights)):
        what = "missing" if name in expected else "unknown"
        raise CheckpointError(f"{source}: {what} tensor {name!r}: another network's weights; {cure}")
    for name, tensor in expected.items():
        if tensor.shape != weights[name].shape:
            raise CheckpointError(
                f"{source}: {name!r} is {tuple(weights[name].shape)}, the network needs {tuple(tensor.shape)}; {cure}"
            )
    network.load_state_dict(dict(weights))
