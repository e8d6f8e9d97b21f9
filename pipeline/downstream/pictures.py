"""Pictures of what a detector finds: the versions of an image side by side, each with its boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from rdmc.data.images import Image
from rdmc.downstream.boxes import Detections
from rdmc.downstream.detection import SCORE

WIDTH, GAP, CAPTION, TITLE = 480, 12, 26, 40
"""Pixels: the width of an image, the gap between two, the lines of caption and title."""
COLOURS = ("#cf222e", "#0969da", "#1a7f37", "#bc4c00", "#8250df", "#bf3989", "#9a6700", "#0550ae")
"""Of the boxes, by class, in turn."""
INK, PAPER = "#1f2328", "#ffffff"


def side_by_side(title: str, images: Mapping[str, Image], seen: Mapping[str, Detections], names: Sequence[str] = ()) -> Image:
    """The versions of an image in a row, with the boxes of ``SCORE`` and more.

    Args:
        title: the line above.
        images: version -> (H, W, 3), RGB, of one size.
        seen: version -> what was found in it.
        names: the names of the classes; without them boxes have numbers.
    """
    height, width = next(iter(images.values())).shape[:2]
    scale = WIDTH / width
    down = max(1, round(height * scale))
    sheet = Pillow.new("RGB", (GAP + len(images) * (WIDTH + GAP), TITLE + CAPTION + down + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), title, fill=INK, font=ImageFont.load_default(18))
    for column, (version, image) in enumerate(images.items()):
        x, y = GAP + column * (WIDTH + GAP), TITLE + CAPTION
        sheet.paste(
            Pillow.fromarray(np.asarray(cv2.resize(image, (WIDTH, down), interpolation=cv2.INTER_AREA), np.uint8)), (x, y)
        )
        found = seen[version].above(SCORE)
        count = f"{len(found)} {'object' if len(found) == 1 else 'objects'}"
        draw.text((x, TITLE + 4), f"{version}: {count}", fill=INK, font=ImageFont.load_default(14))
        for box, score, label in zip(found.boxes * scale, found.scores, found.labels.tolist(), strict=True):
            colour = COLOURS[label % len(COLOURS)]
            draw.rectangle([x + box[0], y + box[1], x + box[2], y + box[3]], outline=colour, width=2)
            name = names[label] if label < len(names) else str(label)
            draw.text((x + box[0] + 3, y + box[1] + 1), f"{name} {score:.2f}", fill=colour, font=ImageFont.load_default(11))
    return np.asarray(sheet, np.uint8)
