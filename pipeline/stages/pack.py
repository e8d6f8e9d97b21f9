"""``pack``: checked pairs -> WebDataset shards and their manifest."""

from __future__ import annotations

from pathlib import Path

from pipeline.console import table
from pipeline.datasets import Pack
from rdmc.data.pairs import SPLITS, read_index
from rdmc.data.shards import Manifest, write_shards
from rdmc.files import new_folder

MB = 1_000_000


def run(name: str, pairs: Path, rules: Pack, out: Path) -> None:
    """Pack the pairs that ``prepare`` wrote into ``pairs``; ``out`` appears only once all of it is written.

    Raises DataError where the pairs are missing, damaged or changed.
    """
    with new_folder(out) as folder:
        manifest = write_shards(read_index(pairs), pairs, folder, name, int(rules.shard_mb * MB), rules.pixels == "raw")
    table(f"{name}: shards ({manifest.digest[:12]})", ["split", "pairs", "shards", "MB"], _summary(manifest))


def _summary(manifest: Manifest) -> list[list[str]]:
    rows = []
    for split in SPLITS:
        shards = [shard for shard in manifest.shards if shard.split == split]
        counted = (sum(shard.count for shard in shards), len(shards), sum(shard.size for shard in shards) / MB)
        rows.append([split, str(counted[0]), str(counted[1]), f"{counted[2]:.1f}"])
    return rows
