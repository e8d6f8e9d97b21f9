"""The time and the peak memory of deraining a whole image.

    python -m benchmarks.inference [--width 32] [--passes 3] [--stem 1] [--size 481x321] [--tile 1024] [--threads 2]
    python -m benchmarks.inference --size 3840x2160 --repeats 1

The weights are random: neither time nor memory depends on them. Memory is the peak of the whole process, torch included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from pipeline.console import table
from rdmc.inference import best_device, derain_image
from rdmc.models.rdmc import RDMC, RDMCConfig


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 32), ("passes", 3), ("stem", 1), ("tile", 1024), ("repeats", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--size", default="481x321", help="width x height in pixels")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    across, down = (int(side) for side in arguments.size.split("x"))
    image = np.random.default_rng(0).integers(0, 256, (down, across, 3), dtype=np.uint8)
    network = RDMC(RDMCConfig(width=arguments.width, passes=arguments.passes, stem=arguments.stem)).eval()
    device, times = best_device(), []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        derain_image(network, image, tile=arguments.tile, device=device)
        times.append(time.perf_counter() - started)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {
        "seconds": statistics.median(times),
        "megapixels_per_second": image.size / 3e6 / statistics.median(times),
        "mib": held,
    }
    network_is = f"width {arguments.width}, {arguments.passes} passes, stem {arguments.stem}"
    table(
        f"{arguments.size}, {network_is}, tiles of {arguments.tile}, {device}, {arguments.threads} threads",
        list(figures),
        [[f"{value:.2f}" for value in figures.values()]],
    )
    if arguments.out:
        arguments.out.write_text(json.dumps({**vars(arguments), "out": None, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
