"""Epochs of this project's loader: memory, start-up time, and reading from a bucket.

    python -m benchmarks.epochs [--what memory|start|bucket] [--pairs 240] [--rounds 3] [--crop 128] [--batch 4]

``memory`` measures one loader over ten epochs. ``start`` starts an epoch of a million pairs. ``bucket`` compares epochs from
a real S3 server on this machine with epochs from disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from pathlib import Path

from benchmarks.harness import measure
from pipeline.console import table
from pipeline.storage.dvc_remote import BucketShards, Remote
from pipeline.storage.s3 import Bucket
from pipeline.storage.shard_cache import ShardCache
from rdmc.data.batches import batches
from rdmc.data.loader import Fetch, PairStore, local_shard
from rdmc.data.sampling import Part, Sampling
from rdmc.data.shards import MANIFEST, read_manifest
from tests.support.s3 import s3_server


def watch_memory(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Resident MB after each of ten epochs of one loader."""
    store = PairStore([folder / "original"], "train", arguments.cache)
    sampling = Sampling(0, store.parts(), arguments.batch, 8, 16)
    steps = len(store) * 8 // arguments.batch
    held = [
        int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        for batch in batches(store, sampling, crop=arguments.crop, start=0, steps=10 * steps)
        if (batch.step + 1) % steps == 0
    ]
    columns = [str(number + 1) for number in range(len(held))]
    table(f"resident MB after each epoch of {len(store)} pairs", columns, [[f"{mb:.0f}" for mb in held]])
    return {"resident MB": held}


def start_epochs(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Seconds until the pairs of the first batch are known, with a million pairs in 5,000 shards."""
    found: dict[str, list[float]] = {"first": [], "resumed": [], "later epoch": []}
    for number in range(arguments.rounds):
        for name, step in (("first", 0), ("resumed", 20_001), ("later epoch", 10_000_019)):
            started = time.perf_counter()
            plan = Sampling(number, (Part((200,) * 5000),), 64, 8, 16)
            for slot in range(64):
                plan.draw(step, slot)
            plan.shards_of(step)
            found[name].append(time.perf_counter() - started)
    rows = [[name, f"{1e3 * statistics.median(seconds):.0f}"] for name, seconds in found.items()]
    table("a million pairs: until the first batch's pairs are known", ["start", "ms"], rows)
    return found


def compare_bucket(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Seconds per epoch (one crop per pair) from disk, from the bucket with an empty cache, and again from the cache alone.

    Epochs from the cache alternate with epochs from disk after the server has ended, because it keeps working after a download.
    """
    shards, manifest = folder / "original", read_manifest(folder / "original" / MANIFEST)
    only = folder / "manifest"
    only.mkdir()
    shutil.copy(shards / MANIFEST, only / MANIFEST)
    found: dict[str, list[float]] = {"disk, beside the server": [], "bucket, cold": [], "disk": [], "bucket, warm": []}
    fetches = [
        BucketShards(Remote(Bucket("bench", "")), ShardCache(folder / f"cache-{n}", 20_000)) for n in range(arguments.rounds)
    ]
    with s3_server(folder / "s3") as server:
        os.environ.update(server.environment)
        bucket = server.bucket("bench")
        for shard in manifest.shards:
            bucket.put_object(Key=f"dvc/files/md5/{shard.md5[:2]}/{shard.md5[2:]}", Body=(shards / shard.name).read_bytes())
        for fetch in fetches:
            found["disk, beside the server"].append(_epoch(shards, local_shard, arguments))
            found["bucket, cold"].append(_epoch(only, fetch, arguments))
    for fetch in fetches:
        found["disk"].append(_epoch(shards, local_shard, arguments))
        found["bucket, warm"].append(_epoch(only, fetch, arguments))
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    disks = dict(zip(found, [medians["disk, beside the server"]] * 2 + [medians["disk"]] * 2, strict=True))
    rows = [[name, f"{medians[name]:.2f}", f"{medians[name] / disks[name]:.2f}"] for name in found]
    table(f"an epoch of {arguments.pairs} pairs in {len(manifest.shards)} shards", ["", "s", "times disk"], rows)
    return found


def _epoch(folder: Path, fetch: Fetch, arguments: argparse.Namespace) -> float:
    started = time.perf_counter()
    store = PairStore([folder], "train", arguments.cache, fetch=fetch)
    sampling = Sampling(0, store.parts(), arguments.batch, 1, 16)
    for _ in batches(store, sampling, crop=arguments.crop, start=0, steps=len(store) // arguments.batch):
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    measure(__doc__, {"memory": watch_memory, "start": start_epochs, "bucket": compare_bucket})
