"""Small datasets and params for tests: real rain over smooth scenes, packed by the real code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ruamel.yaml import YAML

from pipeline.config.params import Params, read_params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_overrides
from pipeline.config.settings import Settings
from rdmc.data.images import Image, as_png
from rdmc.data.pairs import write_index, write_pair
from rdmc.data.shards import Manifest, write_shards
from rdmc.datasets.rain import render
from tests.support.imports import ROOT

FEW = ("coffee", "camera", "street-00", "street-69", "chelsea", "street-70", "china", "street-78")
"""Names of the embedded photographs in a test's project: of every package, and in every split."""
COUNTS = {"train": 5, "validation": 3, "test": 2}
TINY = {
    "network.width": 3,
    "network.passes": 2,
    "train.steps": 6,
    "train.crop": 32,
    "train.global_batch_size": 4,
    "train.warmup_steps": 2,
    "train.validate_every": 3,
    "pack.shard_mb": 0.02,
}


def scene(number: int, height: int = 48, width: int = 64) -> Image:
    """A smooth colourful image, (height, width, 3), RGB, 0 to 255."""
    coarse = np.random.default_rng(number).uniform(20, 200, (6, 8, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


LIGHT = {"datasets": {"light": {"source": "embedded", "rain": "light", "variants": 1}}}
"""The override of params that train on light rain alone."""
HEAVY = {"heavy": {"source": "embedded", "rain": "heavy", "variants": 1}}
"""The datasets of params that train on heavy rain alone."""


def make_dataset(workspace: Paths, name: str, counts: Mapping[str, int] | None = None, **size: int) -> Manifest:
    """Write pairs and shards of a dataset, as ``prepare`` and ``pack`` do. ``name`` is a kind of rain."""
    pairs, entries = workspace.pairs(name), []
    for split, count in (counts or COUNTS).items():
        for number in range(count):
            clean = scene(1000 * len(split) + number, **size)
            rainy = render(clean, name, (number,))
            entries.append(write_pair(pairs, split, f"{split}-{number}", f"{split}-{number}", as_png(rainy), as_png(clean)))
    write_index(pairs, name, entries, len(entries), [])
    return write_shards(entries, pairs, workspace.shards(name), name, 20_000)


def tiny_params(overrides: Mapping[str, Any] | None = None) -> Params:
    """The project's params, made small enough to train in a moment."""
    rains = {name: {"source": "embedded", "rain": name, "variants": 1} for name in ("light", "heavy")}
    return with_overrides(read_params(ROOT / "params.yaml"), {**TINY, "datasets": rains, **(overrides or {})})


def ready_to_train(root: Path, overrides: Mapping[str, Any]) -> Paths:
    """A folder with shards of ``heavy`` and params.yaml: ``tiny_params`` on that dataset, with ``overrides``."""
    made = Paths(root)
    make_dataset(made, "heavy")
    write_tiny_params(root / "params.yaml", {"datasets": HEAVY, **overrides})
    return made


def write_tiny_params(path: Path, overrides: Mapping[str, Any] | None = None) -> None:
    """Write ``tiny_params`` as a params file."""
    YAML(typ="safe", pure=True).dump(tiny_params(overrides).model_dump(mode="json", by_alias=True), path)


def toy_project(settings: Settings, paths: Paths, *datasets: str) -> Project[Params]:
    """A project with tiny params and these datasets, or ``light`` if none is named."""
    chosen = {name: {"source": "embedded", "rain": "light", "variants": 1} for name in datasets or ("light",)}
    return Project(tiny_params({"datasets": chosen}), settings, paths)
