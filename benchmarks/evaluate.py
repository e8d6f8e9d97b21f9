"""The time of ``evaluate`` on 100 images of 481x321 beside the time of its network alone, and which part takes the rest.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.evaluate [--images 100] [--rounds 3] [--out FILE.json]

A round derains the images one after the other, as the network alone would, then runs the whole of ``evaluate``, then derains
them again: a change of the machine's speed meets both. Last, the network alone derains several images at the same time, as
``evaluate`` does. The rounds' medians count. The model is the reference model, whose form and size are the default's. The
variable is the one that every command sets. Starting Python is not counted; the first round has what torch imports to count a
network's arithmetic.

The parts are timed alone, with this process's threads: together they take longer than ``evaluate``, which has several images in
work at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.harness import make_pairs, timed
from pipeline.config.data import Embedded
from pipeline.config.params import Params, read_params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import table
from pipeline.evaluation.abreast import SharedNetwork, in_turn
from pipeline.stages import evaluate
from rdmc.checkpoint import write_model
from rdmc.data.loader import PairStore
from rdmc.data.pairs import read_index
from rdmc.data.shards import write_shards
from rdmc.files import new_folder
from rdmc.inference import derain_image
from rdmc.metrics import measure
from rdmc.reference import load_reference

DATASET = "bench"


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
        project = _project(Path(folder), arguments.images)
        store = PairStore([project.paths.shards(DATASET)], "test", 16)
        network, tile = load_reference(), project.params.evaluate.tile
        images = [store[index].rainy for index in range(len(store))]

        def alone() -> None:
            for image in images:
                derain_image(network, image, tile)

        def abreast() -> None:
            shared = SharedNetwork(network, tile, torch.device("cpu"), len(images))
            deque(in_turn(shared, images, shared.abreast), maxlen=0)

        derain_image(network, images[0], tile)
        rounds = [_round(alone, abreast, lambda: evaluate.run(project)) for _ in range(arguments.rounds)]
        parts = _parts(store, tile)
    threads = torch.get_num_threads()
    title = f"{arguments.images} images of 481x321, {os.cpu_count()} cores, {threads} threads"
    rows = [[str(number), *(f"{value:.2f}" for value in one.values())] for number, one in enumerate(rounds, 1)]
    table(title, ["round", *rounds[0]], rows)
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    table("the rounds' medians", list(medians), [[f"{value:.3f}" for value in medians.values()]])
    table("milliseconds an image, alone", list(parts), [[f"{value:.1f}" for value in parts.values()]])
    if arguments.out:
        facts = {"images": arguments.images, "threads": threads, "medians": medians, "rounds": rounds, "milliseconds": parts}
        arguments.out.write_text(json.dumps(facts, indent=2) + "\n")


def _round(alone: Callable[[], None], abreast: Callable[[], None], whole: Callable[[], None]) -> dict[str, float]:
    """Seconds of the network alone and of ``evaluate``, their ratios, and the machine's load."""
    before, took, after, together = (timed(work) for work in (alone, whole, alone, abreast))
    own = (before + after) / 2
    return {
        "network alone, s": own,
        "evaluate, s": took,
        "ratio": took / own,
        "network alone, several at once, s": together,
        "ratio to it": took / together,
        "load (1 min)": os.getloadavg()[0],
    }


def _project(folder: Path, images: int) -> Project[Params]:
    """A project as after ``train``: one dataset's test pairs, packed as params.yaml says, and the reference model."""
    paths, network, params = Paths(folder), load_reference(), read_params(Path("params.yaml"))
    make_pairs(paths.pairs(DATASET), images, "test")
    entries = read_index(paths.pairs(DATASET))
    size, pixels = int(params.pack.shard_mb * 1_000_000), params.pack.pixels
    write_shards(entries, paths.pairs(DATASET), paths.shards(DATASET), DATASET, size, pixels=pixels)
    with new_folder(paths.best) as best:
        write_model(best, network.config, network.state_dict(), {"step": 0})
    dataset = Embedded(source="embedded", rain="light", variants=1)
    return Project(params.model_copy(update={"datasets": {DATASET: dataset}}), Settings(workers=1, gpu=False), paths)


def _parts(store: PairStore, tile: int) -> dict[str, float]:
    """Milliseconds an image of each part."""
    network, count = load_reference(), min(len(store), 30)
    seconds = dict.fromkeys(("decode", "network", "figures of the rainy image", "figures of the derained image"), 0.0)
    for index in range(count):
        marks = [time.perf_counter()]
        pair = store[index]
        marks.append(time.perf_counter())
        derained = derain_image(network, pair.rainy, tile)
        marks.append(time.perf_counter())
        for image in (pair.rainy, derained):
            measure(image, pair.clean)
            marks.append(time.perf_counter())
        for name, start, end in zip(seconds, marks, marks[1:], strict=False):
            seconds[name] += end - start
    return {name: 1000 * total / count for name, total in seconds.items()}


if __name__ == "__main__":
    main()
