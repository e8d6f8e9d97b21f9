"""The time of the search for leaks, and its growth with the number of scenes.

    python -m benchmarks.leaks [--files 1000] [--scenes 5000 20000 100000] [--threads 2] [--out FILE.json]

``--files`` writes that many synthetic scenes, 481x321, two thirds JPEG of quality 90 and one third PNG (which is not
measured), reads them and searches them, from files to the list of leaks. ``--scenes`` makes that many thumbnails in memory,
since reading is the same work for each, and searches them; only the copies among them are files. One scene in five is a test;
one test in ten is a copy of a training scene (mirrored, cut, recompressed). Scenes have one of a few layouts, for instance
sky over ground, chosen so that about as many of their pairs become candidates as with photographs (2 to 3 in 10,000).
Times are seconds of the clock and of the processor. It exits with an error where a copy is missed or another pair is found.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image as Pillow

from pipeline.console import say
from rdmc.data.images import Image
from rdmc.data.pairs import Fault
from rdmc.datasets.leakage import THUMBNAIL, Look, Scene, candidates, find_twins, look, look_at_all
from rdmc.datasets.likeness import code, square
from rdmc.errors import DataError

T = TypeVar("T")
SCORE = 0.4
HEIGHT, WIDTH = 321, 481
SMALL = 3
"""Factor by which scenes are smaller where only their thumbnail is needed."""
COPY_EVERY = 10
LAYOUTS, LAYOUT = 40, 34.0
"""Number of coarse layouts that scenes share, and their strength, in levels of 255."""


def scene(number: int, part: int = 1) -> Image:
    """(321, 481, 3) over ``part``: a layout and noise at five scales, the coarse ones strongest, as in photographs."""
    height, width = HEIGHT // part, WIDTH // part
    rng, layout = np.random.default_rng((1, number)), np.random.default_rng((2, number % LAYOUTS))
    coarse = layout.normal(128, LAYOUT, (3, 3, 3)).astype(np.float32)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for cells, strength in ((4, 20), (8, 16), (16, 16), (64, 16), (200, 8)):
        if cells <= width:  # finer noise than a pixel has no effect
            pixels = pixels + cv2.resize(rng.normal(0, strength, (cells, cells, 3)).astype(np.float32), (width, height))
    return pixels.clip(0, 255).astype(np.uint8)


def copied(number: int, count: int) -> int | None:
    """The training scene that a test scene shows; the tests are the last fifth."""
    place = number - count * 4 // 5
    return place if place >= 0 and place % COPY_EVERY == 0 else None


def write(number: int, count: int, folder: Path) -> Scene:
    """Write a scene to a file."""
    original = copied(number, count)
    pixels = scene(number) if original is None else np.ascontiguousarray(scene(original)[3:-2, 4:-1][:, ::-1])
    path = folder / f"{number}.{'png' if number % 3 == 0 else 'jpg'}"
    Pillow.fromarray(pixels).save(path, quality=90 if original is None else 50)
    return Scene("synthetic", "train" if number < count * 4 // 5 else "test", str(number), path)


def made(number: int, count: int, folder: Path) -> Look:
    """A scene as the search keeps it; also written to a file where it has a copy or is one."""
    has_copy = number < count // 5 and number % COPY_EVERY == 0
    if has_copy or copied(number, count) is not None:
        found = look(write(number, count, folder))
        if isinstance(found, Fault):
            raise DataError(f"{found.file}: {found.reason}")
        return found
    grey = cv2.cvtColor(scene(number, SMALL), cv2.COLOR_RGB2GRAY).astype(np.uint8)
    kept = Scene("synthetic", "train" if number < count * 4 // 5 else "test", str(number), folder / "none")
    return Look(kept, str(number), square(grey, THUMBNAIL), code(grey))


def timed(work: Callable[[], T]) -> tuple[tuple[float, float], T]:
    """Seconds of the clock and of the processor that ``work`` takes, and its result."""
    started, used = time.perf_counter(), time.process_time()
    found = work()
    return (time.perf_counter() - started, time.process_time() - used), found


def searched(looks: list[Look], count: int, threads: int) -> dict[str, Any]:
    """Search, check the result and return the figures."""
    codes, number = timed(lambda: len(candidates(looks)))
    whole, twins = timed(lambda: find_twins(looks, SCORE, threads))
    expected = {(str(copied(n, count)), str(n)) for n in range(count) if copied(n, count) is not None}
    if {(twin.first.name, twin.second.name) for twin in twins} != expected:
        raise SystemExit(f"{count} scenes: found {len(twins)} twins, there are {len(expected)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"codes": codes, "find_twins": whole, "candidates": number, "twins": len(twins), "mb": peak}


def of_files(count: int, threads: int) -> dict[str, Any]:
    """Figures of the whole work, from files."""
    with tempfile.TemporaryDirectory() as folder:
        with ThreadPoolExecutor(threads) as pool:
            scenes = list(pool.map(partial(write, count=count, folder=Path(folder)), range(count)))
        reading, looks = timed(lambda: [item for item in look_at_all(scenes, threads) if isinstance(item, Look)])
        return {"reading": reading, **searched(looks, count, threads)}


def of_thumbnails(count: int, threads: int) -> dict[str, Any]:
    """Figures of the search alone."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        looks = list(pool.map(partial(made, count=count, folder=Path(folder)), range(count)))
        return searched(looks, count, threads)


def main() -> None:
    """Measure, print a line per size with seconds of the clock (and of the processor), write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--scenes", type=int, nargs="*", default=[5000, 20000, 100000])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rows = {}
    for name, count, measured in [
        ("files", arguments.files, of_files),
        *(("thumbnails", n, of_thumbnails) for n in arguments.scenes),
    ]:
        rows[f"{count:,} {name}"] = row = measured(count, arguments.threads)
        shown = "  ".join(f"{key} {_seconds(row.get(key))}" for key in ("reading", "codes", "find_twins"))
        say(f"{count:,} {name}: {shown}  candidates {row['candidates']}  copies {row['twins']}  peak {row['mb']:.0f} MB")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


def _seconds(found: tuple[float, float] | None) -> str:
    return f"{found[0]:.1f} ({found[1]:.1f})" if found else "-"


if __name__ == "__main__":
    main()
