"""``leaks``: find clean scenes that two splits share or that one test split has twice; ``pack`` uses the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path

from pipeline.config.data import Layout, Leaks
from pipeline.config.paths import Paths
from pipeline.console import say, table, track
from pipeline.data.leak_report import draw_sheets, write_report
from rdmc.data.pairs import SPLITS, Fault, PairEntry, read_index
from rdmc.datasets.leakage import Look, Part, Scene, Twin, distinct, find_twins, look_at_all
from rdmc.errors import ConfigError, DataError
from rdmc.files import PICTURES, globbed, walk

PARTS: dict[Layout, Part] = {Layout.CLEAN: "whole", Layout.CLEAN_LEFT: "left", Layout.CLEAN_RIGHT: "right"}
"""The part of a file that is the clean image, for each layout of a folder's files."""
SHOWN = 20
"""The most rows that a table shows; the report has all."""


def run(datasets: Iterable[str], rules: Leaks, paths: Paths, pictures: Path | None = None) -> bool:
    """Compare all ``datasets`` that ``prepare`` wrote and write the report. Returns whether there are leaks.

    Raises DataError where pairs are missing or damaged.
    """
    scenes = [scene for name in datasets for scene in scenes_of(name, paths.pairs(name))]
    return _compare(scenes, rules.score, paths.leaks, pictures)


def check(
    train: Sequence[str],
    test: Sequence[str],
    layouts: Sequence[Layout],
    score: float,
    report: Path | None = None,
    pictures: Path | None = None,
) -> bool:
    """Compare plain folders, or globs of files. Returns whether there are leaks.

    ``layouts`` has one item for all places, or one per place, ``train`` first, then ``test``. Raises ConfigError for another
    number of layouts, and DataError for a place without a readable image.
    """
    places = [("train", place) for place in train] + [("test", place) for place in test]
    if len(layouts) not in (1, len(places)):
        raise ConfigError(f"--layout: given {len(layouts)} times for {len(places)} folders; give one, or one for each in order")
    scenes = [
        Scene(place, split, _name(place, path), path, PARTS[layout])
        for (split, place), layout in zip(places, cycle(layouts), strict=False)
        for path in files(place)
    ]
    return _compare(scenes, score, report, pictures)


def scenes_of(dataset: str, folder: Path) -> list[Scene]:
    """The clean images of prepared pairs, each once, even where several pairs show it."""
    by_image: dict[tuple[str, str, str], list[PairEntry]] = {}
    for entry in read_index(folder):
        by_image.setdefault((entry.split, entry.scene, entry.sha256_clean), []).append(entry)
    return [
        Scene(dataset, split, scene, folder / entries[0].clean, pairs=tuple(entry.name for entry in entries))
        for (split, scene, _), entries in by_image.items()
    ]


def files(place: str) -> list[Path]:
    """The files of a folder and the pictures of its subfolders, or the files that a glob matches, sorted.

    Raises DataError where there are none.
    """
    inside = Path(place).is_dir()
    found = _inside(Path(place)) if inside else sorted(path for path in globbed(place) if not path.name.startswith("."))
    if not found:
        raise DataError(f"{place}: no files, a comparison needs images; name a folder or quote a glob")
    return found


def _name(place: str, path: Path) -> str:
    """A file's name within its place: with its subfolders, because they may hold files of the same name."""
    return path.relative_to(place).as_posix() if Path(place).is_dir() else path.name


def _inside(folder: Path) -> list[Path]:
    """The files of a folder, and the pictures of its subfolders. A subfolder's other files are no matter of a comparison.

    A broken link anywhere counts as a file, which is set aside by name: it may stand for a folder of pictures.
    """
    return [
        path
        for path in walk(folder)
        if path.parent == folder or path.suffix.lower() in PICTURES or (path.is_symlink() and not path.exists())
    ]


def _compare(scenes: Sequence[Scene], score: float, report: Path | None, pictures: Path | None) -> bool:
    examined = list(track(look_at_all(scenes), "leaks: images", len(scenes)))
    looks = [item for item in examined if isinstance(item, Look)]
    faults = [item for item in examined if isinstance(item, Fault)]
    _require_readable(scenes, looks, faults)
    twins = find_twins(looks, score, track=lambda parts: track(parts, "leaks: candidates", len(parts)))
    leaks = [twin for twin in twins if twin.relation == "leak"]
    duplicates = [twin for twin in twins if twin.relation == "duplicate" and twin.first.split != "train"]
    splits = _splits(looks, twins)
    if report:
        write_report(report, score, splits, twins, faults)
    _table(f"leaks: set aside {len(faults)}", ["file", "reason"], [[fault.file, fault.reason] for fault in faults])
    _table(f"leaks: {len(leaks)} in two splits", TWINS, [_row(twin) for twin in leaks])
    _table(f"leaks: {len(duplicates)} twice in one test or validation", TWINS, [_row(twin) for twin in duplicates])
    table(
        "leaks: clean images",
        ["dataset", "split", "images", "scenes", "leaking"],
        [[str(v) for v in row.values()] for row in splits],
    )
    if report:
        say(f"leaks: the whole list is {report}")
    if pictures and (drawn := draw_sheets(pictures, [*leaks, *duplicates])):
        say(f"leaks: pictures are {drawn[0]} to {drawn[-1].name}")
    return bool(leaks)


TWINS = ["image", "split", "shows", "split", "view", "score"]


def _require_readable(scenes: Sequence[Scene], looks: Sequence[Look], faults: Sequence[Fault]) -> None:
    """Raise DataError for a split without a readable image, since it would pass as free of leaks."""
    readable = {(item.scene.dataset, item.scene.split) for item in looks}
    for scene in scenes:
        if (scene.dataset, scene.split) not in readable:
            reasons = {fault.file: fault.reason for fault in faults}
            raise DataError(
                f"{scene.dataset}: no image of {scene.split} can be read (first: {scene.path.name} {reasons[str(scene.path)]})"
                "; fix or remove it"
            )


def _splits(looks: Sequence[Look], twins: Sequence[Twin]) -> list[dict[str, str | int]]:
    """A row per split of each dataset: the numbers of images, distinct scenes, and images that leak into a later split."""
    images = Counter((item.scene.dataset, item.scene.split) for item in looks)
    leaking = Counter((scene.dataset, scene.split) for scene in {twin.first for twin in twins if twin.relation == "leak"})
    scenes = distinct(looks, twins)
    order = sorted(images, key=lambda key: (key[0], SPLITS.index(key[1])))
    return [
        {"dataset": key[0], "split": key[1], "images": images[key], "scenes": scenes[key], "leaking": leaking[key]}
        for key in order
    ]


def _row(twin: Twin) -> list[str]:
    sides = [part for scene in (twin.first, twin.second) for part in (f"{scene.dataset}/{scene.name}", scene.split)]
    return [*sides, twin.view, f"{twin.score:.3f}"]


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    more = f", the first {SHOWN} of them" if len(rows) > SHOWN else ""
    if rows:
        table(title + more, columns, rows[:SHOWN])
