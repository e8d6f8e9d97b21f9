"""How a PNG or JPEG is put together, looked at before Pillow reads it: what would keep its parsers busy is refused.

They read headers in Python, piece by piece and filler byte by byte, and a few MB of nothing but pieces take many seconds. No
camera or program makes such files. WebP is read by its own library, which is fast whatever it is given.
"""

from __future__ import annotations

import re
import struct

from rdmc.errors import DataError

CHUNKS = 16_384
"""Of a PNG: 32 MB of pixels in the pieces of 8 kB that libpng writes are 4,000."""
OTHERS = 128
"""Of those, which have no pixels: each may hold a colour profile that takes milliseconds to unpack."""
FRAMES = (b"IDAT", b"fdAT", b"fcTL")
SEGMENTS = 256
"""Of a JPEG, scans of its pixels among them: the largest depth maps of phones take some 160, of up to 64 kB each."""
RESOURCES = 16
"""Of those Photoshop's, each of which may hold thousands of parts: 1 MB."""
FILLER = 4096
"""Bytes of a JPEG between those before its pixels."""
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MARKER = re.compile(rb"\xff([^\x00\xff])")
AMONG_PIXELS = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
END, SCAN, PHOTOSHOP = 0xD9, 0xDA, 0xED
BARE = {0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
"""Markers that Pillow takes to stand alone, without a length."""


def check_outline(data: bytes, name: str) -> None:
    """Raise DataError for a PNG or JPEG of more pieces than any picture has; ``name`` is what the error calls it.

    What is damaged, or neither of the two, passes: it is the decoder's to tell.
    """
    said = _png(data) if data.startswith(PNG) else _jpeg(data) if data.startswith(JPEG) else ""
    if said:
        raise DataError(f"{name}: {said}, as no picture has; save it anew")


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
            return f"more than {RESOURCES} segments of Photoshop's"
        place = found.end()
        if found[1][0] not in BARE:
            place += max(2, int.from_bytes(data[place : place + 2]))
    return f"more than {SEGMENTS} segments"
