"""Shared parts of the loading benchmarks: pairs of 481x321 packed in each form, options, and figures as JSON."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import torch

from pipeline.config.params import read_params
from pipeline.console import say
from rdmc.data.images import as_png
from rdmc.data.pairs import read_index, write_index, write_pair
from rdmc.data.sampling import DEPTH
from rdmc.data.shards import Pixels, write_shards
from rdmc.datasets.embedded import AI_BENCHMARK, PHOTOS, photograph
from rdmc.datasets.rain import render

HEIGHT, WIDTH = 321, 481
Measurement = Callable[[argparse.Namespace, Path], Any]
"""Returns figures, from the options and a folder with ``pairs`` and their shards in a folder for each of ``Pixels``."""


def make_pairs(folder: Path, count: int, split: str = "train") -> None:
    """Write ``count`` pairs of rainy and clean PNGs of 481x321, cut from embedded photographs, and their index.

    The streets are left out, so that figures stay comparable with those from before they were there.
    """
    photos = [photograph(photo).pixels[:HEIGHT, :WIDTH] for photo in PHOTOS if photo.package != AI_BENCHMARK]
    cleans = [np.ascontiguousarray(pixels) for pixels in photos if pixels.shape == (HEIGHT, WIDTH, 3)]
    made = [(as_png(render(clean, "light", (number,))), as_png(clean)) for number, clean in enumerate(cleans)]
    entries = [write_pair(folder, split, f"p{i:05d}", f"s{i}", *made[i % len(made)]) for i in range(count)]
    write_index(folder, "bench", entries, count, [])


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(description: str, measurements: Mapping[str, Measurement]) -> None:
    """Make the pairs, run the measurements that the command line names, or all, and write their figures to ``--out``."""
    arguments = _arguments(description, measurements)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="rdmc-") as at:
        folder = Path(at)
        make_pairs(folder / "pairs", arguments.pairs)
        for pixels in get_args(Pixels):
            write_shards(read_index(folder / "pairs"), folder / "pairs", folder / pixels, "bench", 16_000_000, pixels=pixels)
        figures = {name: measurements[name](arguments, folder) for name in arguments.what}
        if arguments.out:
            arguments.out.write_text(json.dumps(figures, indent=2) + "\n")
        say("done")


def _arguments(description: str, measurements: Mapping[str, Measurement]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("pairs", 240), ("rounds", 3), ("crop", 128), ("batch", 4), ("seconds", 2.0)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--what", nargs="+", choices=list(measurements), default=list(measurements))
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    arguments.loss = read_params().loss
    arguments.cache = math.ceil(1.1 * DEPTH * arguments.batch * 6 * HEIGHT * WIDTH / 2**20)
    return arguments
