"""Pictures that benchmarks draw for the pages of docs/: images of one size in rows, as a JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.console import say
from rdmc.data.images import Image


def write_sheet(path: Path, cells: Sequence[Image], columns: int, quality: int) -> None:
    """Write images of one size, (H, W, 3), RGB, 0 to 255, in rows of ``columns``; the last row is filled up with white."""
    filled = [*cells, *[np.full_like(cells[0], 255)] * (-len(cells) % columns)]
    rows = [np.concatenate(filled[at : at + columns], axis=1) for at in range(0, len(filled), columns)]
    picture = np.concatenate(rows)
    path.write_bytes(bytes(cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]))
    say(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
