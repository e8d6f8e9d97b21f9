"""Damaged pictures through all reading and checking of a pair: the result is a pair or a one-line fault."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from rdmc.datasets.matching import Match
from rdmc.datasets.rain import render
from tests.support.data import scene

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on damaged TIFF
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """``data`` with some bytes changed, most of them near the head, where a format keeps its sizes; or cut off."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 12)):
        reach = len(found) if rng.random() < 0.5 else min(len(found), 64)
        place = rng.randrange(reach)
        found[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    if rng.random() < 0.25:
        del found[rng.randrange(1, len(found)) :]
    return bytes(found)


def encoded(side: int) -> list[tuple[bytes, bytes]]:
    """A rainy and a clean picture in every format that may be read."""
    clean = scene(1, side, side)
    pairs = []
    for kind in FORMATS:
        buffers = []
        for pixels in (render(clean, "heavy", (1,)), clean):
            buffer = io.BytesIO()
            Pillow.fromarray(pixels).save(buffer, kind)
            buffers.append(buffer.getvalue())
        pairs.append((buffers[0], buffers[1]))
    return pairs


def check_mutations(folder: Path, seeds: range) -> None:
    pictures = encoded(80)
    made, faults = 0, []
    for seed in seeds:
        rng = random.Random(seed)
        rainy, clean = pictures[seed % len(pictures)]
        halves = (mutated(rainy, rng), clean) if rng.random() < 0.7 else (rainy, mutated(clean, rng))
        for name, data in zip(("r", "c"), halves, strict=True):
            (folder / name).write_bytes(data)
        found = Match("train", "x", "x", folder / "r", folder / "c").make(folder / "out")
        made += found.entry is not None
        if found.fault:
            faults.append(found.fault)
        assert (found.entry is None) == (found.fault is not None)
    assert made
    assert faults
    assert all("\n" not in fault.reason and fault.reason and Path(fault.file).name in ("r", "c") for fault in faults)
    assert {fault.kind for fault in faults} >= {"unreadable"}


def test_damaged_pictures_become_faults(tmp_path: Path) -> None:
    check_mutations(tmp_path, range(175))


@pytest.mark.slow
def test_ten_thousand_damaged_pictures_become_faults(tmp_path: Path) -> None:
    check_mutations(tmp_path, range(1000, 11_000))


def test_noise_of_any_size_is_never_an_exception(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(16):
        shape = (int(rng.integers(1, 200)), int(rng.integers(1, 200)), 3)
        for name in ("r", "c"):
            Pillow.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name, "PNG")
        found = Match("train", "x", "x", tmp_path / "r", tmp_path / "c").make(tmp_path / "out")
        assert (found.entry is None) == (found.fault is not None)
        assert (found.fault is not None and found.fault.kind == "size") == (min(shape[:2]) < 16)
