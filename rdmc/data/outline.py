"""Check the structure of a PNG or JPEG before Pillow reads it, and refuse files that would keep its parsers busy.

Pillow parses headers in Python, chunk by chunk and filler byte by byte. A file with a few MB of tiny chunks takes many
seconds. No camera or program writes such files. WebP is read by its own library, which is fast for any input.
"""

from __future__ import annotations

import re
import struct

from rdmc.errors import DataError

CHUNKS = 16_384
"""Most chunks of a PNG. 32 MB of pixels are 4,000 chunks of the 8 kB that libpng writes."""
OTHERS = 128
"""Most chunks without pixels. Each may hold a colour profile that takes milliseconds to unpack."""
FRAMES = (b"IDAT", b"fdAT", b"fcTL")
SEGMENTS = 256
"""Most segments of a JPEG, scans included. The largest depth maps of phones take about 160, of up to 64 kB each."""
RESOURCES = 16
"""Most Photoshop segments, together 1 MB. Each may hold thousands of parts."""
FILLER = 4096
"""Most bytes between the segments of a JPEG before its pixels."""
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MARKER = re.compile(rb"\xff([^\x00\xff])")
AMONG_PIXELS = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
END, SCAN, PHOTOSHOP = 0xD9, 0xDA, 0xED
BARE = {0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
"""Markers that Pillow treats as standing alone, without a length."""


def check_outline(data: bytes, name: str) -> None:
    """Raise DataError for a PNG or JPEG with more parts than any real picture has. ``name`` stands for it in the error.

    A damaged file, or one of another format, passes: the decoder reports it.
    """
    excess = _png(data) if data.startswith(PNG) else _jpeg(data) if data.startswith(JPEG) else ""
    if excess:
        raise DataError(f"{name}: {excess}, which no real picture has; save it again")


def _png(data: bytes) -> str:
    place, others = len(PNG), 0
    for _ in range(CHUNKS):
        if place + 12 > len(data):
            return ""
        length, kind = struct.unpack_from(">I4s", data, place)
        others += kind not in FRAMES
        if others > OTHERS:
            return f"more than {OTHERS} chunks beside its pixels"
        place += 12 + int(length)
    return f"more than {CHUNKS:,} chunks"


def _jpeg(data: bytes) -> str:
    place, filler, resources, pixels = 2, 0, 0, False
    for _ in range(SEGMENTS):
        found = AMONG_PIXELS.search(data, place) if pixels else MARKER.search(data, place, place + FILLER + 2)
        if not pixels:
            filler += (found.start() if found else min(place + FILLER + 1, len(data))) - place
        if filler > FILLER:
            return f"more than {FILLER:,} bytes of filler in its header"
        if not found or (pixels and found[1][0] == END):
            return ""
        pixels |= found[1][0] == SCAN
        resources += found[1][0] == PHOTOSHOP
        if resources > RESOURCES:
            return f"more than {RESOURCES} Photoshop segments"
        place = found.end()
        if found[1][0] not in BARE:
            place += max(2, int.from_bytes(data[place : place + 2]))
    return f"more than {SEGMENTS} segments"
