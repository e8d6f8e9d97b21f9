"""The command ``unpaired``: a folder of photographs of real rain before and after deraining."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import torch
from torch import nn

from pipeline.comparison.unpaired.measure import CHANGED, MEASURES, MeasureMeans, WildResult, compared, means
from pipeline.comparison.unpaired.sheet import MOST, SheetPair, contact_sheet, small
from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import say, table, track
from pipeline.evaluation.evaluator import device_of
from pipeline.evaluation.finite import finite
from pipeline.serving.choice import NAMES, load_chosen
from pipeline.serving.photos import is_result, read_photo
from rdmc.errors import ConfigError, DataError
from rdmc.files import check_writable, pictures, write_bytes, write_text
from rdmc.inference import derain_image

SHEETS = (".png", ".jpg", ".jpeg", ".webp")
"""The kinds of file that a contact sheet can be."""
SHOWN = 5
"""How many photographs the table of those that changed most names."""


def run(
    folder: Path,
    model: str,
    settings: Settings,
    names: Register = NAMES,
    tile: int = 1024,
    json_file: Path | None = None,
    sheet: Path | None = None,
) -> list[WildResult]:
    """Derain every photograph below ``folder``, measure it before and after, and say what came out.

    A picture that cannot be read is set aside with its reason, and so is a result of ``derain``.

    Args:
        folder: photographs of real rain, in any number of subfolders.
        model: as ``pipeline.serving.derain.run`` takes it.
        settings: where MLflow is, and whether a GPU may be used.
        names: the names in the registry, for an empty ``model``.
        tile: larger images are derained in tiles of this many pixels a side.
        json_file: for the figures of every photograph.
        sheet: for a picture of every photograph beside its derained version, a file of ``SHEETS``.

    Raises ConfigError for a sheet of another kind, DataError if no picture can be used, CheckpointError or ServiceError if
    there is no such model.
    """
    if sheet and sheet.suffix.lower() not in SHEETS:
        raise ConfigError(f"{sheet}: a contact sheet is a {', '.join(SHEETS)} file; end its name with one of them")
    for path in (json_file, sheet):
        check_writable(path)
    found = _pictures(folder)
    loaded = load_chosen(model, settings, names)
    results, pairs, aside = _measured(found, folder, loaded.network, tile, device_of(settings))
    _show(folder, results, aside)
    if json_file:
        means_of = {name: asdict(means(results, name)) for name in MEASURES}
        facts = {"model": str(loaded), "sha256": loaded.sha256, "folder": folder.name, "changed_levels": CHANGED}
        content = {**facts, "means": means_of, "set_aside": aside, "images": [asdict(one) for one in results]}
        write_text(json_file, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")
    if sheet:
        _write_sheet(sheet, pairs, len(results))
    if written := [str(path) for path in (json_file, sheet) if path]:
        say(f"written: {', '.join(written)}")
    return results


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name a folder of photographs")
    if not (found := pictures(folder)):
        raise DataError(f"{folder}: no pictures; name a folder of photographs")
    return found


def _measured(
    found: Sequence[Path], folder: Path, network: nn.Module, tile: int, device: torch.device
) -> tuple[list[WildResult], list[SheetPair], list[str]]:
    """Derain and measure each picture: the figures, small copies of the first ones, and a line for each that is set aside."""
    results: list[WildResult] = []
    pairs: list[SheetPair] = []
    aside: list[str] = []
    for path in track(found, f"unpaired {folder.name}"):
        name = path.relative_to(folder).as_posix()
        if is_result(path):
            aside.append(f"{name}: is a result of derain already")
            continue
        try:
            rainy = read_photo(path).pixels
        except (DataError, OSError) as error:
            aside.append(str(error))
            continue
        started = time.perf_counter()
        derained = derain_image(network, rainy, tile, device)
        result = compared(name, rainy, derained, time.perf_counter() - started)
        results.append(result)
        if len(pairs) < MOST:
            pairs.append(SheetPair(f"{name}   {result.changed:.0%} changed", small(rainy), small(derained)))
    return results, pairs, aside


def _show(folder: Path, results: Sequence[WildResult], aside: Sequence[str]) -> None:
    """Print the set-aside pictures and the tables. Raises DataError if nothing was measured."""
    for line in aside:
        say(f"set aside: {line}")
    if not results:
        raise DataError(f"{folder}: none of its {len(aside)} pictures can be used, reasons above; name another folder")
    rows = []
    for name in MEASURES:
        one = means(results, name)
        rows.append([f"{name.upper()} (lower is better)", str(one.images), *_numbers(one)])
    title = f"{folder.name}: {len(results)} photographs" + (f", {len(aside)} set aside" if aside else "")
    table(title, ["measure", "photographs", "before", "after", "better in"], rows)
    changed = sum(one.changed for one in results) / len(results)
    mean = sum(one.mean_change for one in results) / len(results)
    say(f"changed by {CHANGED} levels of 255 or more: {changed:.1%} of the pixels; mean change {mean:.2f} levels")
    most = sorted(results, key=lambda one: -one.changed)[:SHOWN]
    rows = [[one.image, f"{one.changed:.1%}", f"{one.mean_change:.2f}"] for one in most]
    table("changed most", ["photograph", "pixels changed", "mean change"], rows)
    if same := [one.image for one in results if one.mean_change == 0]:
        say(f"{len(same)} photographs are unchanged (first: {same[0]})")


def _numbers(one: MeasureMeans) -> list[str]:
    return ["-"] * 3 if not one.images else [f"{one.before:.2f}", f"{one.after:.2f}", f"{one.better:.0%}"]


def _write_sheet(path: Path, pairs: Sequence[SheetPair], images: int) -> None:
    drawn = cv2.cvtColor(contact_sheet(pairs), cv2.COLOR_RGB2BGR)
    fine, data = cv2.imencode(path.suffix.lower(), drawn)
    if not fine:
        raise DataError(f"{path}: {drawn.shape[1]}x{drawn.shape[0]} pixels cannot be written so; name a .png file")
    write_bytes(path, bytes(data))
    if images > len(pairs):
        say(f"{path}: shows the first {len(pairs)} of {images} photographs")
