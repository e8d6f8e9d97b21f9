"""``pack``: write checked pairs to WebDataset shards with a manifest."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import PIL

from pipeline.config.data import Pack
from pipeline.console import say, table, track
from pipeline.data.leak_report import read_excluded
from rdmc.data.journal import library_digest
from rdmc.data.pairs import QUARANTINE, SPLITS, read_index
from rdmc.data.partial import partial_folder
from rdmc.data.shards import Manifest, Shard, write_shards
from rdmc.errors import DataError
from rdmc.files import file_digest

MB = 1_000_000
VERSIONS = [cv2.__version__, np.__version__, PIL.__version__, version("webdataset"), version("zstandard")]
"""Of the libraries that decode, compress and write shards."""


def run(name: str, pairs: Path, rules: Pack, out: Path, leaks: Path | None = None) -> None:
    """Pack the pairs that ``prepare`` wrote into ``pairs``. The folder ``out`` appears only when it is complete.

    A killed or interrupted ``pack`` goes on where it stopped (``rdmc.data.partial``).

    Pairs that the report ``leaks`` lists are left out; the manifest lists them. The report of prepare's checks is copied too,
    because ``register`` may run on a machine without the pairs. Raises DataError where the pairs or a report are missing,
    damaged or changed, and where all training pairs leak.
    """
    entries = read_index(pairs)
    excluded = read_excluded(leaks, name) if leaks else {}
    kept = [entry for entry in entries if f"{entry.split}/{entry.name}" not in excluded]
    if "train" in {entry.split for entry in entries} - {entry.split for entry in kept}:
        raise DataError(
            f"{name}: every training pair shows a scene of a validation or test ({leaks}); "
            "name others in params.yaml, or set leaks.exclude: false there"
        )
    size = int(rules.shard_mb * MB)
    code = [library_digest("data"), file_digest(Path(__file__)), VERSIONS]
    with partial_folder(out, [code, name, size, rules.pixels]) as (folder, journal):
        manifest = write_shards(kept, pairs, folder, name, size, excluded, rules.pixels, _tracked, journal)
        for path in set(folder.glob("*.tar")) - {folder / shard.name for shard in manifest.shards}:
            path.unlink()  # of a killed process that had other pairs
        if (pairs / QUARANTINE).is_file():
            shutil.copyfile(pairs / QUARANTINE, folder / QUARANTINE)
    if excluded:
        say(f"{name}: left out {len(excluded)} of {len(entries)} pairs that leak; {leaks} and the manifest list them")
    table(f"{name}: shards ({manifest.digest[:12]})", ["split", "pairs", "shards", "MB"], _summary(manifest))


def _tracked(shards: Iterable[Shard], count: int) -> Iterable[Shard]:
    return track(shards, "pack: shards", count)


def _summary(manifest: Manifest) -> list[list[str]]:
    rows = []
    for split in SPLITS:
        shards = [shard for shard in manifest.shards if shard.split == split]
        counted = (sum(shard.count for shard in shards), len(shards), sum(shard.size for shard in shards) / MB)
        rows.append([split, str(counted[0]), str(counted[1]), f"{counted[2]:.1f}"])
    return rows
