"""Small real pairs on disk, as ``prepare`` writes them, and shards of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rdmc.data.images import Image, as_png
from rdmc.data.pairs import read_index, write_index, write_pair
from rdmc.data.shards import write_shards

Picture = Callable[..., Image]
MakeShards = Callable[..., Path]


def noise(height: int = 24, width: int = 32, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def picture() -> Picture:
    return noise


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Seven training, two validation and three test pairs of different sizes."""
    folder = tmp_path / "pairs"
    entries = [
        write_pair(
            folder, split, f"{split}-{i}", f"scene-{i}", as_png(noise(20 + i, 40 - i, i)), as_png(noise(20 + i, 40 - i, 50 + i))
        )
        for split, count in (("train", 7), ("validation", 2), ("test", 3))
        for i in range(count)
    ]
    write_index(folder, "small", entries, len(entries), [])
    return folder


@pytest.fixture
def make_shards(tmp_path: Path, pairs: Path) -> MakeShards:
    def make(name: str = "small", shard_bytes: int = 12_000) -> Path:
        folder = tmp_path / "shards" / name
        write_shards(read_index(pairs), pairs, folder, name, shard_bytes)
        return folder

    return make
