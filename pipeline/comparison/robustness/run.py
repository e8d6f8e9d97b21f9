"""The command ``robustness``: heat maps of a model's gain over the properties of rain."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.comparison.robustness.plots import check_suffix, heat_maps
from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import progress_bar, say, table
from pipeline.evaluation.evaluator import device_of
from pipeline.evaluation.rain_maps import BASE, SIDE, RainCell, RainMap, clean_photographs, count, rain_maps
from pipeline.serving.choice import NAMES, load_chosen
from rdmc.files import check_writable, write_bytes, write_text


def run(
    model: str,
    settings: Settings,
    names: Register = NAMES,
    images: int = 6,
    seed: int = 0,
    json_file: Path | None = None,
    picture: Path | None = None,
) -> list[RainMap]:
    """Measure a model's gain over every rain of the maps, show them as tables, and write the files that are named.

    Args:
        model: as ``pipeline.serving.derain.run`` takes it.
        settings: where MLflow is, and whether a GPU may be used.
        names: the names in the registry, for an empty ``model``.
        images: how many of the embedded test photographs take part, spread evenly.
        seed: fixes every drop.
        json_file: for all figures.
        picture: for the heat maps, a file with a suffix of ``plots.SUFFIXES``.

    Raises ConfigError for a picture of another kind, DataError if the photographs are missing, CheckpointError or ServiceError
    if there is no such model.
    """
    if picture:
        check_suffix(picture)
    for path in (json_file, picture):
        check_writable(path)
    photos = clean_photographs(images)
    found = load_chosen(model, settings, names)
    with progress_bar("robustness", count()) as advance:
        maps = rain_maps(found.network, photos, seed, device_of(settings), advance)
    for one in maps:
        _show(one)
    worst = min((cell for one in maps for row in one.cells for cell in row), key=lambda cell: cell.gain)
    say(f"least gain: {worst.gain:+.2f} dB with {worst.shape.words}; the rest as in {BASE}")
    if json_file:
        cells = [{"across": one.across, "down": one.down, "cells": _plain(one.cells)} for one in maps]
        facts = {"model": str(found), "sha256": found.sha256, "images": len(photos), "side": SIDE, "seed": seed}
        write_text(json_file, json.dumps({**facts, "maps": cells}, indent=2, allow_nan=False) + "\n")
    if picture:
        data = io.BytesIO()
        title = f"{found.name} {found.version}: gain over {len(photos)} test photographs".replace(" :", ":")
        heat_maps(maps, title).savefig(data, format=picture.suffix[1:].lower(), dpi=110)
        write_bytes(picture, data.getvalue())
    if written := [str(path) for path in (json_file, picture) if path]:
        say(f"written: {', '.join(written)}")
    return maps


def _show(one: RainMap) -> None:
    columns = [f"{one.down} \\ {one.across}", *(f"{getattr(cell.shape, one.across):g}" for cell in one.cells[0])]
    rows = [[f"{getattr(row[0].shape, one.down):g}", *(f"{cell.gain:+.2f}" for cell in row)] for row in one.cells]
    table(f"gain in dB PSNR-Y by {one.across} and {one.down}", columns, rows)


def _plain(cells: Sequence[Sequence[RainCell]]) -> list[list[dict[str, float]]]:
    return [[cell.plain() for cell in row] for row in cells]
