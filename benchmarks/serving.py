"""The cost of serving compared with the bare network: its share of the bare throughput under load, and response times.

    python -m benchmarks.serving [--size 481x321] [--requests 200] [--callers 8] [--out FILE]

The bare network runs before and after the server, on the same pixels, in as many processes as the server has replicas, with
one thread each. In between, ``callers`` send as many pictures to the server at once, JPEG in and PNG out, after a warm-up in
which its replicas start. The network is the reference model, whose form and size are the
default's.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.config.settings import Settings
from pipeline.console import table
from pipeline.serving.app import serving
from pipeline.serving.requests import RequestLimits
from pipeline.serving.types import ServingConfig
from rdmc.checkpoint import load_model, write_model
from rdmc.inference import derain_image
from rdmc.reference import load_reference


def bare(model: Path, across: int, down: int, count: int) -> float:
    """Seconds that one process with one thread takes for ``count`` pictures."""
    torch.set_num_threads(1)
    network, image = load_model(model)[0], picture(across, down)
    derain_image(network, image)
    started = time.perf_counter()
    for _ in range(count):
        derain_image(network, image)
    return time.perf_counter() - started


def all_bare(model: Path, across: int, down: int, count: int, processes: int) -> float:
    """Pictures per second of all ``processes`` together."""
    each = max(1, count // processes)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(each / seconds for seconds in pool.starmap(bare, [(model, across, down, each)] * processes))


def picture(across: int, down: int) -> np.ndarray:
    """A smooth picture with some noise, similar to a photograph."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((across, down), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(coarse) + rng.normal(0, 6, (down, across, 3)), 0, 255).astype(np.uint8)


def ask(port: int, body: bytes) -> float:
    """Seconds that one request takes."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/derain", body, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}")
    return time.perf_counter() - started


def load(port: int, body: bytes, count: int, callers: int) -> tuple[float, list[float]]:
    """Seconds for ``count`` requests from ``callers`` at once: in total, and for each request."""
    started = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        times = list(pool.map(lambda _: ask(port, body), range(count)))
    return time.perf_counter() - started, times


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("requests", 200), ("callers", 8), ("port", 8765)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--replicas", type=int, default=os.cpu_count())
    parser.add_argument("--size", default="481x321", help="width x height in pixels")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    across, down = (int(side) for side in arguments.size.split("x"))
    network = load_reference()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        model.mkdir()
        write_model(model, network.config, network.state_dict(), {})
        before = all_bare(model, across, down, arguments.requests // 2, arguments.replicas)
        file = BytesIO()
        Image.fromarray(picture(across, down)).save(file, "JPEG", quality=92)
        plan = ServingConfig(str(model), "127.0.0.1", arguments.port, 1024, 1, 128, 5.0, RequestLimits(), Path(folder, "cache"))
        with serving(plan, Settings(workers=arguments.replicas)):
            load(
                arguments.port, file.getvalue(), max(arguments.requests // 4, 40), arguments.callers
            )  # replicas start under load
            total, times = load(arguments.port, file.getvalue(), arguments.requests, arguments.callers)
        after = all_bare(model, across, down, arguments.requests // 2, arguments.replicas)
    served, alone = arguments.requests / total, (before + after) / 2
    p50, p99 = np.percentile(times, [50, 99])
    figures = {
        "before": before,
        "after": after,
        "served": served,
        "share": served / alone,
        "p50": float(p50),
        "p99": float(p99),
    }
    table(
        f"{arguments.size}, {arguments.replicas} replicas, {arguments.callers} callers, {arguments.requests} requests",
        ["bare before, images/s", "and after", "served, images/s", "share", "p50, s", "p99, s"],
        [[f"{value:.3f}" for value in figures.values()]],
    )
    if arguments.out:
        facts = {**vars(arguments), "out": None, "network": asdict(network.config), "load_average": os.getloadavg()}
        arguments.out.write_text(json.dumps({**facts, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
