"""A contact sheet: every photograph beside its derained version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from rdmc.data.images import Image

HEIGHT, WIDTH = 180, 260
"""The room for a picture on the sheet, in pixels."""
COLUMNS = 3
"""Pairs in a row."""
GAP, CAPTION, SIZE = 8, 18, 12
"""Pixels between pairs, the height of a caption, and the size of its letters."""
MOST = 300
"""Pairs on a sheet at most; the rest is left out."""
PAPER, INK = "#ffffff", "#1f2328"
BOX = (207, 34, 46)
"""Colour of the boxes around objects, R, G, B."""


@dataclass(frozen=True)
class SheetPair:
    """A photograph and its derained version, small, with a caption."""

    caption: str
    rainy: Image
    derained: Image


def small(image: Image, boxes: NDArray[np.float64] | None = None) -> Image:
    """An image shrunk to fit its room on the sheet, (h, w, 3); smaller ones stay as they are.

    ``boxes``, (n, 4) x1 y1 x2 y2 in pixels of the image, are drawn over it.
    """
    height, width = image.shape[:2]
    scale = min(HEIGHT / height, WIDTH / width, 1)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shrunk = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for x1, y1, x2, y2 in np.rint((np.zeros((0, 4)) if boxes is None else boxes) * scale).astype(int).tolist():
        cv2.rectangle(shrunk, (x1, y1), (x2, y2), BOX, 1)
    return shrunk


def contact_sheet(pairs: Sequence[SheetPair]) -> Image:
    """Draw pairs of ``small`` images, rainy left and derained right, row by row, (H, W, 3). At most ``MOST`` are drawn."""
    pairs = pairs[:MOST]
    across, down = 2 * WIDTH + GAP, HEIGHT + CAPTION + GAP
    columns = max(1, min(COLUMNS, len(pairs)))
    rows = max(1, -(-len(pairs) // columns))
    sheet = Pillow.new("RGB", (columns * across + GAP, rows * down + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(SIZE)
    for place, pair in enumerate(pairs):
        left, top = GAP + place % columns * across, GAP + place // columns * down
        draw.text((left, top), _cut(pair.caption, font, 2 * WIDTH - GAP), fill=INK, font=font)
        for side, image in enumerate((pair.rainy, pair.derained)):
            sheet.paste(Pillow.fromarray(image), (left + side * WIDTH, top + CAPTION))
    return np.asarray(sheet)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    while text and font.getlength(text) > room:
        text = text[1:]  # the end of a path says more than its beginning
    return text
