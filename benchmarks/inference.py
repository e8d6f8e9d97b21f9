"""The time and the peak memory of deraining a whole image; and the same network in ONNX Runtime, in turn.

    python -m benchmarks.inference [--form mixed] [--width 32] [--passes 3] [--stem 1] [--size 481x321] [--tile 1024]
    python -m benchmarks.inference --reference --onnx     # the model in the package, beside ONNX Runtime
    python -m benchmarks.inference --size 3840x2160 --repeats 1

Random weights do as well as others: neither time nor memory depends on them. Memory is the peak of the whole process, torch
included, without ONNX Runtime. With ``--onnx`` each round times both, one after the other, on as many threads; the outputs must
agree. What counts is the smallest time of each, because other programs can only add to it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.console import table
from rdmc.inference import best_device, derain_image
from rdmc.models.base import Restorer
from rdmc.models.export import export
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.reference import load_reference

Image = NDArray[np.uint8]


def main() -> None:
    """Measure, print a table, write JSON."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    across, down = (int(side) for side in arguments.size.split("x"))
    image = np.random.default_rng(0).integers(0, 256, (down, across, 3), dtype=np.uint8)
    network, device = _network(arguments), best_device()
    ways: dict[str, Callable[[], Image]] = {"ours": lambda: derain_image(network, image, arguments.tile, device)}
    if arguments.onnx:
        ways["onnx runtime"] = _onnx(network, image, arguments.threads)
    times: dict[str, list[float]] = {name: [] for name in ways}
    found = {name: derain() for name, derain in ways.items()}  # the first round is a warm-up
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if any(np.abs(one.astype(int) - found["ours"]).max() > 1 for one in found.values()):
        raise SystemExit("the outputs differ by more than a level")
    for _ in range(arguments.repeats):
        for name, derain in ways.items():
            started = time.perf_counter()
            derain()
            times[name].append(time.perf_counter() - started)
    figures = {name: {"median": statistics.median(seconds), "least": min(seconds)} for name, seconds in times.items()}
    title = f"{arguments.size}, {network.config}, tiles of {arguments.tile}, {device}, {arguments.threads} threads"
    rows = [[name, *(f"{value:.3f}" for value in one.values())] for name, one in figures.items()]
    table(title, ["", "median s", "least s"], rows)
    if arguments.out:
        facts = {**vars(arguments), "out": None, "mib": None if arguments.onnx else held, "seconds": figures}
        arguments.out.write_text(json.dumps(facts, indent=2) + "\n")
    if not arguments.onnx:
        table("peak memory", ["MiB"], [[f"{held:.0f}"]])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 32), ("passes", 3), ("stem", 1), ("tile", 1024), ("repeats", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--form", default="separate", choices=["separate", "mixed"])
    parser.add_argument("--reference", action="store_true", help="the model in the package instead")
    parser.add_argument("--onnx", action="store_true", help="also time ONNX Runtime")
    parser.add_argument("--size", default="481x321", help="width x height in pixels")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    return parser.parse_args()


def _network(arguments: argparse.Namespace) -> Restorer:
    if arguments.reference:
        return load_reference()
    config = RDMCConfig(width=arguments.width, passes=arguments.passes, stem=arguments.stem, form=arguments.form)
    return RDMC(config).eval()


def _onnx(network: Restorer, image: Image, threads: int) -> Callable[[], Image]:
    """Derain the image in ONNX Runtime, from uint8 to uint8 as ``derain_image`` does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = export(network, Path(folder) / "model", "onnx", {})
        session: Any = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def derain() -> Image:
        given = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / 255
        (found,) = session.run(None, {name: given})
        return np.asarray(np.rint(np.clip(found[0].transpose(1, 2, 0), 0, 1) * 255), np.uint8)

    return derain


if __name__ == "__main__":
    main()
