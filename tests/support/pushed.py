"""Helpers for a DVC repository whose shards are in a bucket (the fixtures are in tests/pipeline/conftest.py)."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.datasets import open_pairs
from pipeline.storage.s3 import bucket_of
from rdmc.data.loader import Pair
from rdmc.data.shards import MANIFEST, read_manifest
from tests.support.data import make_dataset, toy_project
from tests.support.s3 import S3Server


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments, "--quiet"], cwd=root, check=True)


def make_repository(root: Path, made: Paths) -> None:
    """Make a DVC repository whose one stage packs `light` from a source folder. The dataset is made in ``made``."""
    root.mkdir(parents=True)
    make_dataset(made, "light")
    shutil.copytree(made.shards("light"), root / "source")
    command = "mkdir -p data/shards && cp -r source data/shards/${item.dataset}"
    stage = {"matrix": {"dataset": ["light"]}, "cmd": command, "deps": ["source"], "outs": ["data/shards/${item.dataset}"]}
    (root / "dvc.yaml").write_text(json.dumps({"stages": {"pack": stage}}))
    subprocess.run(["git", "init", "--quiet", root], check=True)
    dvc(root, "init")
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    dvc(root, "repro")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def objects(settings: Settings, s3: S3Server) -> dict[str, Any]:
    """The objects of DVC's remote, by md5."""
    bucket = bucket_of(settings)
    assert bucket
    found = s3.bucket(bucket.name).objects.filter(Prefix=bucket.key("dvc/files/md5/"))
    return {"".join(item.key.split("/")[-2:]): item for item in found}


def pairs(settings: Settings, workspace: Paths, split: str = "train") -> list[Pair]:
    """All pairs of a split, from disk or from the bucket."""
    store = open_pairs(toy_project(settings, workspace), split, cache_mb=0)
    return [store[i] for i in range(len(store))]


def same(found: list[Pair], expected: list[Pair]) -> bool:
    return [pair.key for pair in found] == [pair.key for pair in expected] and all(
        (a.rainy == b.rainy).all() and (a.clean == b.clean).all() for a, b in zip(found, expected, strict=True)
    )


def shard_objects(settings: Settings, s3: S3Server, root: Path, split: str = "train") -> dict[str, Any]:
    """The objects of a split's shards, by name."""
    found = objects(settings, s3)
    manifest = read_manifest(root / "source" / MANIFEST)
    return {shard.name: found[shard.md5] for shard in manifest.shards if shard.split == split}


def push_shards(folders: Iterable[Path], bucket: Any, prefix: str = "") -> str:
    """Write to a bucket what `dvc push` writes. Returns the dvc.lock for a machine without shards."""

    def put(md5: str, content: bytes) -> None:
        bucket.put_object(Key=f"{prefix}dvc/files/md5/{md5[:2]}/{md5[2:]}", Body=content)

    outs = []
    for folder in folders:
        files = []
        for path in sorted(folder.iterdir()):
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            put(md5, path.read_bytes())
            files.append(f'{{"md5": "{md5}", "relpath": "{path.name}"}}')
        listing = f"[{', '.join(files)}]".encode()
        md5 = hashlib.md5(listing, usedforsecurity=False).hexdigest() + ".dir"
        put(md5, listing)
        outs.append(f"{{path: data/shards/{folder.name}, md5: {md5}}}")
    return f"stages: {{pack: {{outs: [{', '.join(outs)}]}}}}"
