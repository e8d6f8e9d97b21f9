"""What is seen in each version, with a detector that counts bright squares and a segmenter that splits by brightness."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.downstream.images import CaseSet, case_sets
from pipeline.downstream.measure import chosen, detected, segmented
from rdmc.data.images import Image, write_png
from rdmc.downstream.annotations import read_annotations
from rdmc.downstream.boxes import Detections
from rdmc.downstream.segmentation import Labels

PLACES = ((5, 5), (30, 20), (10, 40))


def bright(image: Image) -> Detections:
    """A box around each bright area."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 200).astype(np.uint8))
    boxes = np.array([[x, y, x + width, y + height] for x, y, width, height, _ in stats[1:]]).reshape(-1, 4)
    return Detections.of(boxes, np.full(len(boxes), 0.8), np.zeros(len(boxes)))


def split(image: Image) -> Labels:
    return (image[..., 0] > 200).astype(np.int64)


def picture(count: int) -> Image:
    image = np.full((60, 60, 3), 20, np.uint8)
    for y, x in PLACES[:count]:
        image[y : y + 8, x : x + 8] = 250
    return image


def derain(image: Image) -> Image:
    """Shows the first two squares, whatever was there."""
    return picture(2)


@pytest.fixture
def pairs(tmp_path: Path) -> CaseSet:
    """Two pairs: three squares, of which the rain leaves none, and two, of which it leaves one."""
    for number, (rainy, clean) in enumerate(((0, 3), (1, 2))):
        write_png(tmp_path / f"set/rain/{number}.png", picture(rainy))
        write_png(tmp_path / f"set/norain/{number}.png", picture(clean))
    (found,) = case_sets([str(tmp_path / "set")], None)
    return found


@pytest.fixture
def photographs(tmp_path: Path) -> CaseSet:
    write_png(tmp_path / "real/a.png", picture(1))
    (found,) = case_sets([str(tmp_path / "real")], None)
    return found


def test_versions_are_compared_with_the_clean_image(pairs: CaseSet) -> None:
    found = detected(pairs, bright, derain, None)
    assert {version: (one.there, one.right, one.found) for version, one in found.boxes.items()} == {
        "rainy": (5, 1, 1),
        "derained": (5, 4, 4),
    }
    assert found.right == {"rainy": [0, 1], "derained": [2, 2]}
    assert chosen(found, 5) == [0, 1], "the most helped first"
    assert chosen(found, 1) == [0]


def test_versions_are_compared_with_annotations(pairs: CaseSet, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "0.png"}, {"id": 2, "file_name": "absent.png"}],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 8, 8]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [400, 5, 8, 8]},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = detected(pairs, bright, derain, read_annotations(tmp_path / "a.json"))
    assert found.names == ["0"]
    assert {version: (one.there, one.right, one.found) for version, one in found.boxes.items()} == {
        "rainy": (1, 0, 0),
        "derained": (1, 1, 2),
        "clean": (1, 1, 3),
    }
    assert {(fault.file, fault.kind) for fault in found.faults} == {("1", "absent"), ("absent", "absent"), ("0", "outside")}


def test_photographs_are_compared_with_themselves_in_the_rain(photographs: CaseSet) -> None:
    found = detected(photographs, bright, derain, None)
    assert list(found.boxes) == ["derained"]
    assert (found.boxes["derained"].there, found.boxes["derained"].found) == (1, 2)
    maps = segmented(photographs, split, derain, None)
    assert list(maps.maps) == ["derained"]
    assert maps.maps["derained"].accuracy == pytest.approx(1 - 64 / 3600)


def test_label_maps_are_compared_with_those_of_the_clean_image_or_with_annotations(pairs: CaseSet) -> None:
    found = segmented(pairs, split, derain, None)
    assert found.maps["rainy"].accuracy == pytest.approx(1 - (3 + 1) * 64 / 7200)
    assert found.maps["derained"].accuracy == pytest.approx(1 - 64 / 7200)
    marked = segmented(pairs, split, derain, lambda name, other: np.zeros_like(other))
    assert list(marked.maps) == ["rainy", "derained", "clean"]
    assert marked.maps["clean"].accuracy == pytest.approx(1 - 5 * 64 / 7200)
