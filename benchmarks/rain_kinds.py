"""Draw the picture docs/rain.jpg: every kind of rain over the same photograph.

python -m benchmarks.rain_kinds [--out docs/rain.jpg] [--seed 7]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from benchmarks.pictures import write_sheet
from rdmc.data.images import Image
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render

PHOTO, TOP, LEFT, HEIGHT, WIDTH = "china", 60, 20, 260, 400
"""The photograph and the part of it that is shown, in pixels. It is not reduced, so that thin streaks stay visible."""
COLUMNS, WILD, QUALITY = 3, 9, 80
"""Pictures in a row, renderings of the kind ``wild``, and the JPEG quality."""


def labelled(image: Image, text: str) -> Image:
    """Return the shown part of the image with ``text`` in its upper left corner."""
    part = np.ascontiguousarray(image[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH])
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(part, text, (8, 20), cv2.FONT_HERSHEY_DUPLEX, 0.6, colour, thickness, cv2.LINE_AA)
    return part


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/rain.jpg"))
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    clean = photograph(next(photo for photo in PHOTOS if photo.name == PHOTO)).pixels
    parts = [labelled(clean, "clean")]
    parts += [labelled(render(clean, kind, (arguments.seed,)), kind) for kind in ("light", "heavy")]
    parts += [labelled(render(clean, "wild", (arguments.seed, number)), "wild") for number in range(WILD)]
    write_sheet(arguments.out, parts, COLUMNS, QUALITY)


if __name__ == "__main__":
    main()
