"""The tables of what was seen downstream, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline.comparison.tables import Table
from pipeline.downstream.measure import SetResult
from rdmc.downstream.detection import IOU, SCORE, Agreement

FAULTS = 20
"""Most faults in a table; the JSON has all."""


def tables(results: Sequence[SetResult]) -> list[Table]:
    """The tables to show: objects, label maps, and what was set aside; apart for each thing that versions are compared with."""
    groups = [[one for one in results if one.truth == truth] for truth in dict.fromkeys(one.truth for one in results)]
    found = [*map(_boxes, groups), *map(_maps, groups), _faults(results)]
    return [one for one in found if one.rows]


def _boxes(results: Sequence[SetResult]) -> Table:
    columns = ["images", "version", "there", "found again", "share", "false", "AP at 0.5", "AP"]
    rows = [
        [f"{result.name} ({len(result.names)})", version, *_agreement(found)]
        for result in results
        for version, found in result.boxes.items()
    ]
    return Table(f"objects, compared with {results[0].truth}: score {SCORE} and more, overlap {IOU} and more", columns, rows)


def _agreement(found: Agreement) -> list[str]:
    ap = ["-" if value < 0 else f"{value:.3f}" for value in (found.ap50, found.ap)]
    return [str(found.there), str(found.right), f"{found.recall:.3f}", str(found.found - found.right), *ap]


def _maps(results: Sequence[SetResult]) -> Table:
    rows = [
        [f"{result.name} ({len(result.names)})", version, f"{one.miou:.3f}", f"{one.accuracy:.3f}", str(one.classes)]
        for result in results
        for version, one in result.maps.items()
    ]
    return Table(
        f"label maps, compared with {results[0].truth}", ["images", "version", "mIoU", "right pixels", "classes"], rows
    )


def _faults(results: Sequence[SetResult]) -> Table:
    rows = [[result.name, fault.file, fault.reason] for result in results for fault in result.faults]
    return Table(f"set aside: {len(rows)}", ["images", "file", "reason"], rows[:FAULTS])


def plain(result: SetResult) -> dict[str, Any]:
    """A set's result as JSON: the figures, and the number of objects found in each image by version."""
    return {
        "name": result.name,
        "compared with": result.truth,
        "images": result.names,
        "objects": {
            version: {**asdict(one), "recall": one.recall, "precision": one.precision} for version, one in result.boxes.items()
        },
        "found again": dict(result.right),
        "label maps": {version: asdict(one) for version, one in result.maps.items()},
        "set aside": [asdict(fault) for fault in result.faults],
    }
