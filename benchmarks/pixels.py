"""Lossless formats for a picture's pixels: their size and reading speed.

    python -m benchmarks.pixels [--pairs 240] [--rounds 3] [--out figures.json]

The first forty pairs of 481x321 are read on one core, in seconds of processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow
from PIL import Image as Pillow

from benchmarks.harness import measure
from pipeline.console import table
from rdmc.data.images import decode, decode_raw, decode_zstd, encode_raw, encode_zstd
from rdmc.data.pairs import read_index


def compare_pixels(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Size (kB) and decoding speed (images per second of a core) of lossless formats."""
    entries = read_index(folder / "pairs")[:40]
    files = [(folder / "pairs" / file).read_bytes() for entry in entries for file in (entry.rainy, entry.clean)]
    images = [decode(data, "") for data in files]
    shape = images[0].shape[:2]
    webp = [bytes(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1]) for image in images]
    ways: dict[str, tuple[list[bytes], Callable[[bytes], object]]] = {
        "PNG as it came, checked (Pillow)": (files, lambda data: decode(data, "")),
        "PNG (Pillow)": (files, lambda data: np.asarray(Pillow.open(BytesIO(data)))),
        "PNG (OpenCV)": (files, lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)),
        "WebP lossless (OpenCV)": (webp, lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)),
        "pixels: raw": ([encode_raw(image) for image in images], lambda data: decode_raw(data, "", *shape)),
        "pixels: zstd": ([encode_zstd(image) for image in images], lambda data: decode_zstd(data, "", *shape)),
    }
    for name, level in (("lz4", None), ("lz4", 9), ("zstd", 1), ("zstd", 6)):
        codec = pyarrow.Codec(name, compression_level=level)
        packed = [bytes(codec.compress(image.tobytes())) for image in images]
        unpack = partial(codec.decompress, decompressed_size=images[0].nbytes)
        ways[f"{name}, level {level or 'as it is'}, without a header (pyarrow)"] = (packed, unpack)
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


if __name__ == "__main__":
    measure(__doc__, {"pixels": compare_pixels})
