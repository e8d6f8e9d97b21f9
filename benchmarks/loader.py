"""Training crops per second of one core, from pairs of 481x321: this project's loader and others.

    python -m benchmarks.loader [--pairs 240] [--rounds 3] [--crop 128] [--batch 4] [--out figures.json]

The figures are crops per second of processor time over all threads, so a busy machine changes them little; the variants take
turns. A plain webdataset decodes both pictures and cuts once, as do litdata and mosaicml-streaming in the usage that their
first pages show. This project's loader keeps only the pairs that its slots use, far fewer than an epoch has, so every epoch
decodes again. litdata and mosaicml-streaming are measured where they are installed; this project's constraints lack them.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image as Pillow

from benchmarks.harness import HEIGHT, WIDTH, measure
from pipeline.console import table
from rdmc.data.batches import make_batch
from rdmc.data.images import Image
from rdmc.data.loader import PairStore
from rdmc.data.pairs import read_index
from rdmc.data.sampling import Draw, Sampling, crop_generator
from rdmc.data.transforms import crop_pair, to_tensor
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.config import TrainConfig
from rdmc.training.losses import Objective

Pairs = Iterator[tuple[Image, Image]]
NAMES = {"webdataset": "plain webdataset, PNG", "litdata": "litdata, PIL images", "streaming": "mosaicml-streaming, arrays"}


def ours(folder: Path, arguments: argparse.Namespace, crops: int) -> Iterator[int]:
    """Numbers of crops that this project's loader makes, without its own thread: all work is in the calling thread."""
    store = PairStore([folder], "train", arguments.cache)
    sampling = Sampling(0, store.parts(), arguments.batch, crops, TrainConfig().shuffle_shards)
    for step in itertools.count():
        yield len(make_batch(store, sampling, step, range(arguments.batch), arguments.crop).keys)


def others(pairs: Callable[[], Pairs], arguments: argparse.Namespace) -> Iterator[int]:
    """Numbers of crops, one from each pair that another loader yields, epoch after epoch."""
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
    """Pairs from webdataset as in its documentation: shuffle shards and samples, decode, take both pictures."""
    urls = [str(path) for path in sorted(folder.glob("train-*.tar"))]
    dataset = webdataset.WebDataset(urls, shardshuffle=100, nodesplitter=webdataset.split_by_node)
    return lambda: iter(dataset.shuffle(100).decode("rgb8").to_tuple("rainy.png", "clean.png"))


def litdata_pairs(pairs: Path, folder: Path) -> Callable[[], Pairs]:
    """Pairs from litdata as in its README: PIL images optimised into chunks, and a streaming dataset over them."""
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
    """Pairs from mosaicml-streaming as in its quick start, over MDS shards of arrays, its fastest lossless encoding."""
    from streaming import MDSWriter, StreamingDataset

    array = f"ndarray:uint8:{HEIGHT},{WIDTH},3"
    with MDSWriter(out=str(folder), columns={"rainy": array, "clean": array}) as out:
        for entry in read_index(pairs):
            opened = {"rainy": Pillow.open(pairs / entry.rainy), "clean": Pillow.open(pairs / entry.clean)}
            out.write({role: np.asarray(image) for role, image in opened.items()})
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=1)
    return lambda: ((np.asarray(found["rainy"]), np.asarray(found["clean"])) for found in dataset)


def training_step(arguments: argparse.Namespace) -> Iterator[int]:
    """Numbers of crops that training steps at width 16 consume."""
    network = RDMC(RDMCConfig(width=16, passes=3, stem=1))
    objective = Objective(network, arguments.loss)
    clean = torch.rand(1, 3, arguments.crop, arguments.crop)
    while True:
        torch.autograd.backward(objective(clean, clean)["loss"])
        yield len(clean)


def compare_crops(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Crops per second of processor time for each variant, by round."""
    variants: dict[str, Iterator[int]] = {NAMES["webdataset"]: others(plain_webdataset(folder / "original"), arguments)}
    for crops in (1, 8, 16):
        variants[f"ours, PNG, {crops} crops a decode"] = ours(folder / "original", arguments, crops)
    for pixels, crops in itertools.product(("zstd", "raw"), (1, 8)):
        variants[f"ours, {pixels}, {crops} crops a decode"] = ours(folder / pixels, arguments, crops)
    if importlib.util.find_spec("litdata"):
        variants[NAMES["litdata"]] = others(litdata_pairs(folder / "pairs", folder / "litdata"), arguments)
    if importlib.util.find_spec("streaming"):
        variants[NAMES["streaming"]] = others(mosaic_pairs(folder / "pairs", folder / "mds"), arguments)
    variants["a training step, width 16"] = training_step(arguments)
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(arguments.rounds + 1):
        for name, made in variants.items():
            rate = _rate(made, arguments.seconds)
            if number:  # the first round is a warm-up
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


if __name__ == "__main__":
    measure(__doc__, {"crops": compare_crops})
