"""The command ``unpaired``: a folder of photographs of real rain before and after deraining."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2

from pipeline.comparison.unpaired.measure import CHANGED, MEASURES, MeasureMeans, WildResult, compared, means
from pipeline.comparison.unpaired.objects import DetectorFile, Lookout, class_finds, open_detector, rows
from pipeline.comparison.unpaired.sheet import MOST, SheetPair, contact_sheet, small
from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import say, table, track
from pipeline.evaluation.evaluator import device_of
from pipeline.evaluation.finite import finite
from pipeline.serving.choice import NAMES, load_chosen
from pipeline.serving.photos import is_result, read_photo
from rdmc.data.images import Image
from rdmc.downstream.detection import SCORE
from rdmc.errors import ConfigError, DataError
from rdmc.files import check_writable, pictures, write_bytes, write_text
from rdmc.inference import derain_image

SHEETS = (".png", ".jpg", ".jpeg", ".webp")
"""The kinds of file that a contact sheet can be."""
SHOWN = 5
"""How many photographs the table of those that changed most names."""
CLASSES = 11
"""Most rows of the table of objects: all together, and the classes with most of them."""


def run(
    folder: Path,
    model: str,
    settings: Settings,
    names: Register = NAMES,
    tile: int = 1024,
    json_file: Path | None = None,
    sheet: Path | None = None,
    detector: DetectorFile | None = None,
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
        detector: what it finds before and after is shown too, and drawn on the sheet.

    Raises ConfigError for a sheet of another kind or a detector that cannot be used, DataError if no picture can be used,
    CheckpointError or ServiceError if there is no such model.
    """
    if sheet and sheet.suffix.lower() not in SHEETS:
        raise ConfigError(f"{sheet}: a contact sheet is a {', '.join(SHEETS)} file; end its name with one of them")
    for path in (json_file, sheet):
        check_writable(path)
    found = _pictures(folder)
    lookout = open_detector(detector) if detector else None
    loaded = load_chosen(model, settings, names)
    device = device_of(settings)

    def derain(image: Image) -> Image:
        return derain_image(loaded.network, image, tile, device)

    results, pairs, aside = _measured(found, folder, derain, lookout)
    _show(folder, results, aside)
    if lookout:
        _show_objects(results, lookout)
    if json_file:
        facts = {"model": str(loaded), "sha256": loaded.sha256, "folder": folder.name, "changed_levels": CHANGED}
        write_text(
            json_file, json.dumps(finite({**facts, **_plain(results, aside, lookout)}), indent=2, allow_nan=False) + "\n"
        )
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
    found: Sequence[Path], folder: Path, derain: Callable[[Image], Image], lookout: Lookout | None
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
        derained = derain(rainy)
        result = compared(name, rainy, derained, time.perf_counter() - started)
        words, pictured = f"{name}   {result.changed:.0%} changed", (small(rainy), small(derained))
        if lookout:
            seen = lookout.detect(rainy).above(SCORE), lookout.detect(derained).above(SCORE)
            result = replace(result, objects_before=lookout.scores(seen[0]), objects_after=lookout.scores(seen[1]))
            words = f"{words}, objects {len(seen[0])} to {len(seen[1])}"
            pictured = small(rainy, seen[0].boxes), small(derained, seen[1].boxes)
        results.append(result)
        if len(pairs) < MOST:
            pairs.append(SheetPair(words, *pictured))
    return results, pairs, aside


def _show(folder: Path, results: Sequence[WildResult], aside: Sequence[str]) -> None:
    """Print the set-aside pictures and the tables. Raises DataError if nothing was measured."""
    for line in aside:
        say(f"set aside: {line}")
    if not results:
        raise DataError(f"{folder}: none of its {len(aside)} pictures can be used, reasons above; name another folder")
    lines = []
    for name in MEASURES:
        one = means(results, name)
        lines.append([f"{name.upper()} (lower is better)", str(one.images), *_numbers(one)])
    title = f"{folder.name}: {len(results)} photographs" + (f", {len(aside)} set aside" if aside else "")
    table(title, ["measure", "photographs", "before", "after", "better in"], lines)
    changed = sum(one.changed for one in results) / len(results)
    mean = sum(one.mean_change for one in results) / len(results)
    say(f"changed by {CHANGED} levels of 255 or more: {changed:.1%} of the pixels; mean change {mean:.2f} levels")
    most = sorted(results, key=lambda one: -one.changed)[:SHOWN]
    lines = [[one.image, f"{one.changed:.1%}", f"{one.mean_change:.2f}"] for one in most]
    table("changed most", ["photograph", "pixels changed", "mean change"], lines)
    if same := [one.image for one in results if one.mean_change == 0]:
        say(f"{len(same)} photographs are unchanged (first: {same[0]})")


def _show_objects(results: Sequence[WildResult], lookout: Lookout) -> None:
    """Print what the detector finds before and after, by class. The JSON has all classes and each photograph."""
    found = class_finds(results)
    columns = ["objects", "before", "after", "mean score before", "after"]
    table(f"found by {lookout.about}, score {SCORE} and more", columns, rows(found, CLASSES))
    if len(found) > CLASSES:
        say(f"and {len(found) - CLASSES} more classes")
    say("nobody has marked what is there: more objects or higher scores are a change, and not by themselves better")


def _plain(results: Sequence[WildResult], aside: Sequence[str], lookout: Lookout | None) -> dict[str, Any]:
    """What was measured, for JSON."""
    content: dict[str, Any] = {"means": {name: asdict(means(results, name)) for name in MEASURES}}
    if lookout:
        seen = {name: asdict(one) for name, one in class_finds(results).items()}
        content |= {"detector": lookout.about, "least_score": SCORE, "objects": seen}
    return {**content, "set_aside": aside, "images": [asdict(one) for one in results]}


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
