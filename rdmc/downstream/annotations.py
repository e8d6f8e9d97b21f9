"""Objects that people have marked: COCO's JSON, or a folder of VOC's XML files, one for each image.

What cannot be used is set aside with a reason: a box without an area or outside its image, an annotation of an image that is
not there, images of one name in several folders.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rdmc.data.pairs import Fault
from rdmc.downstream.boxes import Detections
from rdmc.errors import ConfigError, DataError, one_line

LARGEST = 500_000_000
"""Most bytes of a file of annotations."""


@dataclass
class Annotations:
    """The marked objects of images, by the images' stems."""

    objects: dict[str, Detections] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    """The classes, in the order of their numbers from 0."""
    faults: list[Fault] = field(default_factory=list)

    def missing(self, images: Mapping[str, tuple[int, int]]) -> list[Fault]:
        """The faults of annotations whose image is not among ``images``, stem -> height and width."""
        return [Fault(stem, "annotated, but the image is not there", "absent") for stem in self.objects if stem not in images]

    def fitted(self, images: Mapping[str, tuple[int, int]]) -> tuple[dict[str, Detections], list[Fault]]:
        """The objects of the images that are there, cut at their borders, and the faults of boxes that lie outside."""
        fitted, faults = {}, []
        for stem, found in self.objects.items():
            if stem in images:
                fitted[stem] = found.within(*images[stem])
                if outside := len(found) - len(fitted[stem]):
                    height, width = images[stem]
                    faults.append(Fault(stem, f"{outside} boxes lie outside the image of {width}x{height}", "outside"))
        return fitted, faults


def read_annotations(path: Path, names: tuple[str, ...] = ()) -> Annotations:
    """Read a COCO JSON file, or a folder of VOC XML files.

    Args:
        path: the file or folder.
        names: the detector's classes, in order; VOC names its classes, and those that are not here become faults. With COCO's
            JSON, a class is its place among the sorted category ids.

    Raises DataError for a file that is damaged or has another form.
    """
    if path.is_dir():
        return _voc(path, names)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder; name a COCO JSON file or a folder of VOC XML files")
    if path.stat().st_size > LARGEST:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes, the limit is {LARGEST:,}; split it")
    try:
        return _coco(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: not COCO's annotations ({type(error).__name__}: {one_line(error)}); name another file"
        ) from None


def _coco(found: Mapping[str, Any]) -> Annotations:
    categories = sorted(found["categories"], key=lambda one: one["id"])
    place = {one["id"]: number for number, one in enumerate(categories)}
    stems = {one["id"]: Path(one["file_name"]).stem for one in found["images"]}
    result = Annotations(names=tuple(str(one["name"]) for one in categories))
    counts = Counter(stems.values())
    rows: dict[str, list[tuple[list[float], int]]] = {stem: [] for stem in counts if counts[stem] == 1}
    result.faults += [
        Fault(stem, f"{count} annotated images have this name, so they cannot be told apart; rename the files", "ambiguous")
        for stem, count in counts.items()
        if count > 1
    ]
    for one in found["annotations"]:
        stem = stems.get(one["image_id"])
        x, y, width, height = map(float, one["bbox"])
        label = place.get(one["category_id"])
        if stem is None or label is None:
            result.faults.append(Fault(f"annotation {one['id']}", "its image or category is not in the file", "absent"))
        elif stem in rows and not one.get("iscrowd"):  # a crowd is no object to find
            rows[stem].append(([x, y, x + width, y + height], label))
    return _collected(result, rows)


def _voc(folder: Path, names: tuple[str, ...]) -> Annotations:
    try:
        from defusedxml import ElementTree
    except ImportError:
        raise ConfigError(f"{folder}: VOC's XML needs defusedxml; run `pip install -c constraints.txt defusedxml`") from None
    result = Annotations(names=names)
    place = {name: number for number, name in enumerate(names)}
    rows: dict[str, list[tuple[list[float], int]]] = {}
    for path in sorted(folder.glob("*.xml")):
        rows[path.stem] = []
        try:
            for one in ElementTree.fromstring(path.read_text()).iter("object"):
                name, box = one.findtext("name", ""), one.find("bndbox")
                if name not in place or box is None:
                    result.faults.append(
                        Fault(path.name, f"an object of the class {name!r}, which the detector does not have", "class")
                    )
                else:
                    rows[path.stem].append(
                        ([float(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")], place[name])
                    )
        except (
            ValueError,
            ElementTree.ParseError,
            OSError,
        ) as error:  # ValueError: an entity, with which a short file can grow
            raise DataError(f"{path}: not VOC's annotations ({one_line(error)}); fix or remove it") from None
    if not rows:
        raise DataError(f"{folder}: no XML files, VOC has one for each image; name another folder")
    return _collected(result, rows)


def _collected(result: Annotations, rows: Mapping[str, list[tuple[list[float], int]]]) -> Annotations:
    for stem, given in rows.items():
        good = [row for row in given if all(map(math.isfinite, row[0])) and row[0][2] > row[0][0] and row[0][3] > row[0][1]]
        if bad := len(given) - len(good):
            result.faults.append(Fault(stem, f"{bad} boxes have no area", "empty"))
        boxes, labels = np.array([row[0] for row in good]).reshape(-1, 4), np.array([row[1] for row in good], np.int64)
        result.objects[stem] = Detections.of(boxes, np.ones(len(good)), labels)
    return result


def class_names(path: Path | None) -> tuple[str, ...]:
    """The names of a detector's classes, in the order of their numbers: the lines of a text file; none without a file.

    Raises ConfigError if the file cannot be read as text.
    """
    if path is None:
        return ()
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; name a text file with a class a line, in the order of their numbers"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {one_line(error)}; name a text file with a class a line") from None
    return tuple(line.strip() for line in lines if line.strip())
