"""Files built to keep a parser busy are refused; unusual but real pictures are read."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from rdmc.data.images import read_rgb
from rdmc.data.outline import CHUNKS, FILLER, check_outline
from rdmc.errors import DataError

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def encoded(kind: str, **options: Any) -> bytes:
    file = BytesIO()
    Pillow.fromarray(PHOTO).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def segment(marker: int, length: int) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", length + 2) + bytes(length)


JPEG, PNG = encoded("JPEG"), encoded("PNG")


def in_jpeg(filling: bytes) -> bytes:
    """A whole JPEG with ``filling`` after its first marker."""
    return JPEG[:2] + filling + JPEG[2:]


def in_png(filling: bytes) -> bytes:
    """A whole PNG with ``filling`` after its first chunk."""
    return PNG[:33] + filling + PNG[33:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (in_jpeg(b"\xff" * 4 * 2**20), "bytes of filler"),
        (JPEG[:20] + bytes(4 * 2**20) + JPEG[20:], "bytes of filler"),
        (in_jpeg(segment(0xFE, 0) * 100_000), "segments"),
        (in_jpeg(segment(0xED, 60_000) * 100), "Photoshop segments"),
        (
            in_jpeg(segment(0xF0, 60_000) * 10),
            "bytes of filler",
        ),  # a marker without a length for Pillow, which parses its content
        (in_jpeg((b"\xff" * (FILLER // 8) + segment(0xFE, 0)) * 20), "bytes of filler"),
        (JPEG[:-2] + (JPEG[JPEG.index(b"\xff\xda") :][:14] * 1000) + JPEG[-2:], "segments"),  # a thousand scans
        (in_png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**20))) * 1000), "chunks beside"),
        (PNG[:-12] + chunk(b"IDAT") * 100_000 + PNG[-12:], "chunks"),
    ],
)
def test_a_file_that_takes_seconds_to_parse_is_refused_first(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"{message}.*which no real picture has"):
        read_rgb(data)


@pytest.mark.parametrize(
    "data",
    [
        in_jpeg(segment(0xE1, 65_000) * 160),
        in_jpeg(b"\xff" * (FILLER // 2)),
        encoded("JPEG", progressive=True, quality=99),
        encoded("JPEG", restart_marker_blocks=1),
        JPEG + b"\xff\xd8\xff" * 10_000,  # a phone's film after its picture
        in_png(chunk(b"teSt") * 100),
        PNG[:-12] + chunk(b"IDAT") * (CHUNKS - 10) + PNG[-12:],
        encoded("WEBP", lossless=True),
        encoded("GIF"),
    ],
)
def test_an_unusual_picture_is_read(data: bytes) -> None:
    check_outline(data, "image")
    assert read_rgb(data, convert=True).shape == PHOTO.shape


def test_a_damaged_picture_passes_to_the_decoder() -> None:
    for whole in (JPEG, PNG):
        for end in range(0, len(whole), 7):
            check_outline(whole[:end], "image")
