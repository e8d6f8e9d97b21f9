"""Pictures for benchmarks.gpu, made from random numbers, and their shards, written without webdataset."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np

from rdmc.data.images import Image, as_png, encode_raw
from rdmc.data.shards import MANIFEST, Manifest, Sample, Shard, member_places, write_manifest
from rdmc.datasets.rain import render
from rdmc.files import file_digest

HEIGHT, WIDTH = 321, 481


def picture(number: int) -> Image:
    """Return a picture (321, 481, 3) of soft and fine structures: noise at five scales."""
    rng, sides = np.random.default_rng(number), (4, 12, 40, 120, 321)
    noise = [rng.normal(0, 1 / (1 + index), (side, side * 3 // 2, 3)) for index, side in enumerate(sides)]
    layers = np.sum([cv2.resize(layer, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for layer in noise], axis=0)
    levels: Image = np.clip(128 + 45 * layers, 0, 255).astype(np.uint8)
    return levels


def shards(folder: Path, pairs: int) -> dict[str, Path]:
    """Write ``pairs`` rainy and clean pictures as a shard of PNGs and as one of raw pixels; return their folders."""
    cleans = [picture(number) for number in range(pairs)]
    both = [{"rainy": render(clean, "light", (number,)), "clean": clean} for number, clean in enumerate(cleans)]
    found = {}
    for kind in ("png", "raw"):
        members = [
            {(f"{role}.png" if kind == "png" else f"{role}.npy"): _encoded(pixels, kind) for role, pixels in pair.items()}
            for pair in both
        ]
        found[kind] = folder / kind
        _write(found[kind], members)
    return found


def _encoded(pixels: Image, kind: str) -> bytes:
    return as_png(pixels).data if kind == "png" else encode_raw(pixels)


def _write(folder: Path, pairs: list[dict[str, bytes]]) -> None:
    folder.mkdir(parents=True)
    path = folder / "train-00000.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, members in enumerate(pairs):
            for extension, data in members.items():
                entry = tarfile.TarInfo(f"p{number:05d}.{extension}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    places = member_places(path)
    samples = tuple(Sample(key, key, HEIGHT, WIDTH, members) for key, members in places.items())
    shard = Shard(path.name, "train", path.stat().st_size, len(samples), file_digest(path, "md5"), file_digest(path), samples)
    write_manifest(folder / MANIFEST, Manifest("gpu", (shard,)))
