"""The report of leaks: as JSON, which ``pack`` reads, and as sheets of images to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from rdmc.data.images import read_rgb, write_png
from rdmc.errors import DataError, one_line
from rdmc.files import new_folder, write_text

if TYPE_CHECKING:
    from rdmc.data.pairs import Fault
    from rdmc.datasets.leakage import Scene, Twin

VERSION = 1
ROWS, COLUMNS = 6, 2
"""Twins per sheet: rows and columns."""
WIDTH, HEIGHT, GAP, CAPTION = 320, 220, 10, 22
"""Pixels: width and height of an image, the gap between images, and the height of the caption above two."""


def write_report(
    path: Path, score: float, splits: Sequence[Mapping[str, Any]], twins: Iterable[Twin], faults: Iterable[Fault]
) -> None:
    """Write all leaks, duplicates and unreadable files as JSON. ``splits`` has a row per split of each dataset."""
    rows = [_row(twin) for twin in twins]
    content = {
        "version": VERSION,
        "score": score,
        "splits": list(splits),
        "leaks": [row for row in rows if row["relation"] == "leak"],
        "duplicates": [row for row in rows if row["relation"] == "duplicate"],
        "set_aside": [{"file": fault.file, "reason": fault.reason} for fault in faults],
    }
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_excluded(path: Path, dataset: str) -> dict[str, str]:
    """The leaking pairs of ``dataset`` (split/name), each with what it shows. Raises DataError."""
    try:
        report = json.loads(path.read_text())
        if report["version"] != VERSION:
            raise ValueError(f"version {report['version']}, this program reads {VERSION}")
        excluded: dict[str, str] = {}
        for leak in report["leaks"]:
            first, second = leak["first"], leak["second"]
            if first["dataset"] == dataset:
                shown = f"shows {second['name']}, {second['split']} of {second['dataset']} (score {leak['score']})"
                excluded |= {f"{first['split']}/{name}": shown for name in first["pairs"]}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro leaks` or set leaks.exclude: false in params.yaml") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(f"{path}: damaged ({what}); run `dvc repro -f leaks`") from None
    return excluded


def draw_sheets(folder: Path, twins: Sequence[Twin]) -> list[Path]:
    """Draw the ``twins`` side by side into a new ``folder`` as sheet-000.png and so on, each image as it is in its file."""
    with new_folder(folder) as new:
        for start in range(0, len(twins), ROWS * COLUMNS):
            write_png(new / f"sheet-{start // (ROWS * COLUMNS):03d}.png", _sheet(twins[start : start + ROWS * COLUMNS]))
    return sorted(folder.iterdir())


def _row(twin: Twin) -> dict[str, Any]:
    sides = {side: _scene(scene) for side, scene in (("first", twin.first), ("second", twin.second))}
    return {**sides, "relation": twin.relation, "view": twin.view, "score": twin.score}


def _scene(scene: Scene) -> dict[str, Any]:
    facts = {"dataset": scene.dataset, "split": scene.split, "name": scene.name, "file": str(scene.path), "part": scene.part}
    return {**facts, "pairs": list(scene.pairs)}


def _sheet(twins: Sequence[Twin]) -> Any:
    across, down = 2 * (WIDTH + GAP) + GAP, CAPTION + HEIGHT + GAP
    sheet = Pillow.new("RGB", (COLUMNS * across, -(-len(twins) // COLUMNS) * down), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, twin in enumerate(twins):
        left, top = index % COLUMNS * across + GAP, index // COLUMNS * down
        for place, scene in enumerate((twin.first, twin.second)):
            x = left + place * (WIDTH + GAP)
            caption = f"{scene.split} {scene.path.name}" + (f"  {twin.view}, {twin.score:.2f}" if place else "")
            draw.text((x, top + 4), caption, fill="black", font=font)
            picture = _picture(scene)
            picture.thumbnail((WIDTH, HEIGHT))
            sheet.paste(picture, (x, top + CAPTION))
    return np.asarray(sheet)


def _picture(scene: Scene) -> Pillow.Image:
    return Pillow.fromarray(scene.cut(read_rgb(scene.path, convert=True)))
