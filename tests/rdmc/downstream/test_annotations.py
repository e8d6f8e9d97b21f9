"""Annotations of COCO and VOC: what is read, what is set aside, and what is hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rdmc.downstream.annotations import class_names, read_annotations
from rdmc.errors import ConfigError, DataError

COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "sub/a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
    "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40]},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 0, 9]},
        {"id": 3, "image_id": 9, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"id": 4, "image_id": 7, "category_id": 1, "bbox": [1, 1, 8, 8], "iscrowd": 1},
        {"id": 5, "image_id": 7, "category_id": 1, "bbox": [500, 500, 8, 8]},
    ],
}
VOC = (
    "<annotation><object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object>"
    "</annotation>"
)


def test_cocos_file(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(COCO))
    found = read_annotations(path)
    assert found.names == ("person", "car")
    assert set(found.objects) == {"a", "b"}
    assert sorted(found.objects["a"].boxes.tolist()) == [[10, 20, 40, 60], [500, 500, 508, 508]]
    assert len(found.objects["b"]) == 0, "an image without an object"
    fitted, outside = found.fitted({"a": (50, 100)})
    assert fitted["a"].boxes.tolist() == [[10, 20, 40, 50]]
    assert fitted["a"].labels.tolist() == [1]
    assert [fault.reason for fault in outside] == ["1 boxes lie outside the image of 100x50"]
    assert sorted(fault.reason for fault in found.faults) == [
        "1 boxes have no area",
        "its image or category is not in the file",
    ]
    assert [fault.file for fault in found.missing({"a": (50, 100)})] == ["b"]


def test_images_of_one_name_in_several_folders_are_set_aside(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": name} for number, name in enumerate(("one/a.jpg", "two/a.jpg", "two/b.jpg"))]
    boxes = [{"id": 9 + one, "image_id": one, "category_id": 1, "bbox": [0, 0, 9 + one, 9]} for one in range(3)]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "car"}]}))
    found = read_annotations(path)
    assert {stem: objects.boxes.tolist() for stem, objects in found.objects.items()} == {"b": [[0, 0, 11, 9]]}
    assert [(fault.file, fault.reason.partition(",")[0]) for fault in found.faults] == [
        ("a", "2 annotated images have this name")
    ]


def test_vocs_folder(tmp_path: Path) -> None:
    for name, kind, right in (("a", "car", 20), ("b", "zebra", 20), ("c", "car", 1)):
        (tmp_path / f"{name}.xml").write_text(VOC.format(kind, right))
    found = read_annotations(tmp_path, ("person", "car"))
    assert found.objects["a"].boxes.tolist() == [[1, 2, 20, 9]]
    assert found.objects["a"].labels.tolist() == [1]
    assert [len(found.objects[name]) for name in "bc"] == [0, 0]
    assert {fault.file: fault.kind for fault in found.faults} == {"b.xml": "class", "c": "empty"}


@pytest.mark.parametrize(
    "text",
    [
        "<annotation>",
        VOC.format("car", "wide"),
        '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>',
    ],
    ids=["cut", "word", "entities", "file"],
)
def test_bad_xml_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml: not VOC's annotations") as error:
        read_annotations(tmp_path, ("car",))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": 3, "categories": [], "annotations": []}', "[" * 100_000])
def test_bad_json_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="not COCO's annotations"):
        read_annotations(tmp_path / "a.json")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no XML files"):
        read_annotations(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read_annotations(tmp_path / "none")


def test_names_of_classes_are_the_lines_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("car\n  traffic light \n\n")
    assert class_names(tmp_path / "names.txt") == ("car", "traffic light")
    assert class_names(None) == ()
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x00")
    for name, message in (("none.txt", "no such file; name a text file"), ("odd.txt", "name a text file with a class a line")):
        with pytest.raises(ConfigError, match=message) as caught:
            class_names(tmp_path / name)
        assert "\n" not in str(caught.value)
