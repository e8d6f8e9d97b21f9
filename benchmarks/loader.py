"""How many training crops a second one core makes, from pairs of 481x321: this project's loader and others.

    python benchmarks/loader.py [--pairs 240] [--rounds 3] [--crop 128] [--batch 4] [--out figures.json]
    python benchmarks/loader.py --what pixels|crops|memory|start|bucket

``crops`` are a second of processor time, all threads counted, so that a busy machine moves them little; the variants take
turns. A plain webdataset decodes both pictures and cuts once, as do litdata and mosaicml-streaming in the way that their
first pages show. Ours keeps no more pairs than its slots have in hand, far fewer than an epoch has, so every epoch decodes
anew. litdata and mosaicml-streaming are measured where they are installed, which is nowhere in this project's constraints.
``memory`` watches one loader over ten epochs, ``start`` begins an epoch of a million pairs, ``bucket`` compares epochs from
a real S3 server on this machine with the disk.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import webdataset
from PIL import Image as Pillow

from pipeline.bucket import Bucket
from pipeline.console import say, table
from pipeline.remote import BucketShards, Remote
from pipeline.shard_cache import ShardCache
from rdmc.data.batches import batches, make_batch
from rdmc.data.embedded import PHOTOS, photograph
from rdmc.data.images import Image, as_png, decode, decode_raw, encode_raw
from rdmc.data.loader import Fetch, PairStore, local_shard
from rdmc.data.pairs import read_index, write_index, write_pair
from rdmc.data.rain import render
from rdmc.data.sampling import DEPTH, Draw, Part, Sampling, crop_generator
from rdmc.data.shards import MANIFEST, read_manifest, write_shards
from rdmc.data.transforms import crop_pair, to_tensor
from rdmc.losses import Objective
from rdmc.network import RDMC, RDMCConfig
from rdmc.recipe import TrainConfig
from tests.support.s3 import s3_server

HEIGHT, WIDTH = 321, 481
Pairs = Iterator[tuple[Image, Image]]
NAMES = {"webdataset": "plain webdataset, PNG", "litdata": "litdata, PIL images", "streaming": "mosaicml-streaming, arrays"}


def make_pairs(folder: Path, count: int) -> None:
    """Rainy and clean PNGs of 481x321, cut from the embedded photographs."""
    photos = [photograph(photo).pixels[:HEIGHT, :WIDTH] for photo in PHOTOS]
    cleans = [np.ascontiguousarray(pixels) for pixels in photos if pixels.shape == (HEIGHT, WIDTH, 3)]
    made = [(as_png(render(clean, "light", (number,))), as_png(clean)) for number, clean in enumerate(cleans)]
    entries = [write_pair(folder, "train", f"p{i:05d}", f"s{i}", *made[i % len(made)]) for i in range(count)]
    write_index(folder, "bench", entries, count, [])


def ours(folder: Path, arguments: argparse.Namespace, crops: int) -> Iterator[int]:
    """Crops made by this project's loader, without its thread: all of its work is this thread's."""
    store = PairStore([folder], "train", arguments.cache)
    sampling = Sampling(0, store.parts(), arguments.batch, crops, TrainConfig().shuffle_shards)
    for step in itertools.count():
        yield len(make_batch(store, sampling, step, range(arguments.batch), arguments.crop).keys)


def others(pairs: Callable[[], Pairs], arguments: argparse.Namespace) -> Iterator[int]:
    """Crops cut once from each pair that another loader gives, epoch after epoch."""
    for epoch in itertools.count():
        found: list[tuple[Image, Image]] = []
        for number, (rainy, clean) in enumerate(pairs()):
            found.append(crop_pair(rainy, clean, arguments.crop, crop_generator(0, Draw(number, epoch, 0))))
            if len(found) == arguments.batch:
                to_tensor(np.stack([pair[0] for pair in found]))
                to_tensor(np.stack([pair[1] for pair in found]))
                yield len(found)
                found = []


def plain_webdataset(folder: Path) -> Callable[[], Pairs]:
    """As its pages show: shuffle shards and samples, decode, take both pictures."""
    urls = [str(path) for path in sorted(folder.glob("train-*.tar"))]
    dataset = webdataset.WebDataset(urls, shardshuffle=100, nodesplitter=webdataset.split_by_node)
    return lambda: iter(dataset.shuffle(100).decode("rgb8").to_tuple("rainy.png", "clean.png"))


def litdata_pairs(pairs: Path, folder: Path) -> Callable[[], Pairs]:
    """As its README shows: PIL images optimised into chunks, a streaming dataset over them."""
    import litdata

    litdata.optimize(
        fn=_Both(pairs), inputs=read_index(pairs), output_dir=str(folder), chunk_bytes="64MB", num_workers=1, verbose=False
    )
    dataset = litdata.StreamingDataset(str(folder), shuffle=True)
    return lambda: ((np.asarray(found["rainy"]), np.asarray(found["clean"])) for found in dataset)


class _Both:
    def __init__(self, pairs: Path) -> None:
        self.pairs = pairs

    def __call__(self, entry: Any) -> dict[str, Any]:
        return {"rainy": Pillow.open(self.pairs / entry.rainy), "clean": Pillow.open(self.pairs / entry.clean)}


def mosaic_pairs(pairs: Path, folder: Path) -> Callable[[], Pairs]:
    """As its quick start shows: MDS shards, a streaming dataset over them; arrays, the fastest of its lossless encodings."""
    from streaming import MDSWriter, StreamingDataset

    array = f"ndarray:uint8:{HEIGHT},{WIDTH},3"
    with MDSWriter(out=str(folder), columns={"rainy": array, "clean": array}) as out:
        for entry in read_index(pairs):
            opened = {"rainy": Pillow.open(pairs / entry.rainy), "clean": Pillow.open(pairs / entry.clean)}
            out.write({role: np.asarray(image) for role, image in opened.items()})
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=1)
    return lambda: ((np.asarray(found["rainy"]), np.asarray(found["clean"])) for found in dataset)


def training_step(arguments: argparse.Namespace) -> Iterator[int]:
    """Crops that a training step at width 16 consumes."""
    network = RDMC(RDMCConfig(width=16, passes=3, stem=1))
    objective = Objective(network, arguments.loss)
    clean = torch.rand(1, 3, arguments.crop, arguments.crop)
    while True:
        objective(clean, clean).backward()
        yield len(clean)


def compare_crops(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Crops a second of processor time of each variant, in rounds."""
    variants: dict[str, Iterator[int]] = {NAMES["webdataset"]: others(plain_webdataset(folder / "png"), arguments)}
    for crops in (1, 8, 16):
        variants[f"ours, PNG, {crops} crops a decode"] = ours(folder / "png", arguments, crops)
    for crops in (1, 8):
        variants[f"ours, raw, {crops} crops a decode"] = ours(folder / "raw", arguments, crops)
    if importlib.util.find_spec("litdata"):
        variants[NAMES["litdata"]] = others(litdata_pairs(folder / "pairs", folder / "litdata"), arguments)
    if importlib.util.find_spec("streaming"):
        variants[NAMES["streaming"]] = others(mosaic_pairs(folder / "pairs", folder / "mds"), arguments)
    variants["a training step, width 16"] = training_step(arguments)
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(arguments.rounds + 1):
        for name, made in variants.items():
            rate = _rate(made, arguments.seconds)
            if number:  # the first is to get going
                found[name].append(rate)
    base = statistics.median(found[NAMES["webdataset"]])
    rows = [
        [
            name,
            f"{statistics.median(rates):.1f}",
            f"{min(rates):.1f} to {max(rates):.1f}",
            f"{statistics.median(rates) / base:.2f}",
        ]
        for name, rates in found.items()
    ]
    title = f"crops of {arguments.crop}x{arguments.crop} a second of a core, {arguments.pairs} pairs, batch {arguments.batch}"
    table(title, ["", "crops/s", "rounds", "times webdataset"], rows)
    return found


def _rate(made: Iterator[int], seconds: float) -> float:
    count, started = 0, time.process_time()
    while time.process_time() - started < seconds:
        count += next(made)
    return count / (time.process_time() - started)


def compare_pixels(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Size and decoding speed of ways to keep a picture's pixels without loss."""
    entries = read_index(folder / "pairs")[:40]
    files = [(folder / "pairs" / file).read_bytes() for entry in entries for file in (entry.rainy, entry.clean)]
    images = [decode(data, "") for data in files]
    webp = [bytes(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1]) for image in images]
    ways: dict[str, tuple[list[bytes], Callable[[bytes], object]]] = {
        "PNG as it came, checked (Pillow)": (files, lambda data: decode(data, "")),
        "PNG (Pillow)": (files, lambda data: np.asarray(Pillow.open(BytesIO(data)))),
        "PNG (OpenCV)": (files, lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)),
        "WebP lossless (OpenCV)": (webp, lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)),
        "raw, numpy's format": ([encode_raw(image) for image in images], lambda data: decode_raw(data, "")),
    }
    if importlib.util.find_spec("pyarrow"):
        import pyarrow

        for codec in ("lz4", "zstd"):
            packed = [bytes(pyarrow.compress(image.tobytes(), codec=codec)) for image in images]
            unpack = lambda data, codec=codec: pyarrow.decompress(data, images[0].nbytes, codec=codec)  # noqa: E731
            ways[f"raw in {codec} (pyarrow)"] = (packed, unpack)
    found: dict[str, Any] = {}
    for name, (data, read) in ways.items():
        rates = []
        for _ in range(arguments.rounds):
            started = time.process_time()
            for one in data:
                read(one)
            rates.append(len(data) / (time.process_time() - started))
        found[name] = {"images/s": statistics.median(rates), "kB": sum(map(len, data)) / len(data) / 1e3}
    rows = [[name, f"{facts['images/s']:.0f}", f"{facts['kB']:.0f}"] for name, facts in found.items()]
    table("a picture of 481x321", ["", "decoded/s of a core", "kB"], rows)
    return found


def watch_memory(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Resident MB after each of ten epochs of one loader."""
    store = PairStore([folder / "png"], "train", arguments.cache)
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


def start_epochs(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds until the order of a first batch is known, of a million pairs in 5,000 shards."""
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
    """Seconds of an epoch (one crop a pair) from disk, from the bucket with nothing at hand, and again."""
    shards, manifest = folder / "png", read_manifest(folder / "png" / MANIFEST)
    only = folder / "manifest"
    only.mkdir()
    shutil.copy(shards / MANIFEST, only / MANIFEST)
    found: dict[str, list[float]] = {"disk": [], "bucket, cold": [], "bucket, warm": []}
    with s3_server(folder / "s3") as server:
        os.environ.update(server.environment)
        bucket = server.bucket("bench")
        for shard in manifest.shards:
            bucket.put_object(Key=f"dvc/files/md5/{shard.md5[:2]}/{shard.md5[2:]}", Body=(shards / shard.name).read_bytes())
        for number in range(arguments.rounds):
            cache = ShardCache(folder / f"cache-{number}", 20_000)
            fetch = BucketShards(Remote(Bucket("bench", "")), cache)
            found["disk"].append(_epoch(shards, local_shard, arguments))
            found["bucket, cold"].append(_epoch(only, fetch, arguments))
            found["bucket, warm"].append(_epoch(only, fetch, arguments))
    disk = statistics.median(found["disk"])
    rows = [[name, f"{statistics.median(s):.2f}", f"{statistics.median(s) / disk:.2f}"] for name, s in found.items()]
    table(f"an epoch of {arguments.pairs} pairs in {len(manifest.shards)} shards", ["", "s", "times disk"], rows)
    return found


def _epoch(folder: Path, fetch: Fetch, arguments: argparse.Namespace) -> float:
    started = time.perf_counter()
    store = PairStore([folder], "train", arguments.cache, fetch=fetch)
    sampling = Sampling(0, store.parts(), arguments.batch, 1, 16)
    for _ in batches(store, sampling, crop=arguments.crop, start=0, steps=len(store) // arguments.batch):
        pass
    return time.perf_counter() - started


def main() -> None:
    """Measure, print tables, write JSON."""
    from pipeline.params import read_params

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("pairs", 240), ("rounds", 3), ("crop", 128), ("batch", 4), ("seconds", 2.0)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    every = ("pixels", "crops", "memory", "start", "bucket")
    parser.add_argument("--what", nargs="+", choices=every, default=every)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    arguments.loss = read_params().loss
    arguments.cache = math.ceil(1.1 * DEPTH * arguments.batch * 6 * HEIGHT * WIDTH / 2**20)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="rdmc-") as at:
        folder, figures = Path(at), {}
        make_pairs(folder / "pairs", arguments.pairs)
        for kind, raw in (("png", False), ("raw", True)):
            write_shards(read_index(folder / "pairs"), folder / "pairs", folder / kind, "bench", 16_000_000, raw=raw)
        acts: dict[str, Callable[[], Any]] = {
            "pixels": lambda: compare_pixels(arguments, folder),
            "crops": lambda: compare_crops(arguments, folder),
            "memory": lambda: watch_memory(arguments, folder),
            "start": lambda: start_epochs(arguments),
            "bucket": lambda: compare_bucket(arguments, folder),
        }
        for name in arguments.what:
            figures[name] = acts[name]()
        if arguments.out:
            arguments.out.write_text(json.dumps(figures, indent=2) + "\n")
        say("done")


if __name__ == "__main__":
    main()
