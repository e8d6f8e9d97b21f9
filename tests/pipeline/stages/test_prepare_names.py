"""``prepare`` on files as people have them: names, suffixes, folders, links, and pairs of different scenes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from pipeline.config.data import Dataset, Prepare, Published
from pipeline.stages import prepare
from rdmc.data.images import encode_png
from rdmc.data.pairs import read_index
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render
from rdmc.errors import DataError

LENIENT = Prepare(max_quarantined=1.0)
CLEAN = [photograph(photo).pixels[:96, :128] for photo in PHOTOS if photo.name in ("astronaut", "coffee", "chelsea", "china")]


def write(folder: Path, names: list[str], rain: str = "rain", clean: str = "norain") -> None:
    for i, name in enumerate(names):
        pixels = np.roll(CLEAN[i % len(CLEAN)], 17 * (i // len(CLEAN)), axis=1)
        for half, image in ((rain, render(pixels, "light", (i,))), (clean, pixels)):
            (folder / half / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / half / name).write_bytes(encode_png(image))


def prepared(tmp_path: Path, dataset: Any) -> dict[str, Any]:
    prepare.run("mine", TypeAdapter(Dataset).validate_json(json.dumps(dataset)), LENIENT, 0, tmp_path / "out", processes=1)
    entries = read_index(tmp_path / "out")
    return {
        "pairs": [(entry.split, entry.name) for entry in entries],
        "scenes": len({entry.scene for entry in entries}),
        "faults": json.loads((tmp_path / "out/quarantine.json").read_text())["quarantined"],
    }


def folders(tmp_path: Path, rainy: str, clean: str) -> dict[str, Any]:
    return {"source": "folders", "train": {"rainy": f"{tmp_path}/{rainy}", "clean": f"{tmp_path}/{clean}"}}


@pytest.mark.parametrize("names", [["公园", "河边", "山", "湖"], [f"{'a' * 70}{i}" for i in range(4)]])
def test_names_that_cannot_be_shown_keep_their_scenes(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, [f"{name}.png" for name in names])
    found = prepared(tmp_path, folders(tmp_path, "rain/*.png", "norain/*.png"))
    assert [split for split, _ in found["pairs"]] == ["train"] * 3 + ["validation"]
    assert found["scenes"] == 4


def test_one_scene_leaves_no_validation_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, ["1.png"])
    assert prepared(tmp_path, folders(tmp_path, "rain/*.png", "norain/*.png"))["scenes"] == 1
    assert "mine: no validation pairs, because all training pairs show 1 scene" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("rainy", "clean"), [("rain/*.png", "norain/*.png"), ("rain", "norain"), ("rain/**/*.png", "norain/")])
def test_suffixes_in_any_case_and_folders_instead_of_globs(tmp_path: Path, rainy: str, clean: str) -> None:
    write(tmp_path, ["0.png", "1.PNG", "2.png", "3.Png"])
    found = prepared(tmp_path, folders(tmp_path, rainy, clean))
    assert (len(found["pairs"]), found["faults"]) == (4, [])


def test_equal_names_in_subfolders_are_matched_by_their_path(tmp_path: Path) -> None:
    write(tmp_path, [f"{scene}/{i}.png" for i in range(2) for scene in ("a", "b")])
    found = prepared(tmp_path, folders(tmp_path, "rain/**/*.png", "norain/**/*.png"))
    assert (len(found["pairs"]), found["scenes"], found["faults"]) == (4, 4, [])


def test_pairs_of_different_scenes_are_set_aside(tmp_path: Path) -> None:
    write(tmp_path, [f"{i}.png" for i in range(4)])
    shutil.copyfile(tmp_path / "norain/1.png", tmp_path / "norain/3.png")
    found = prepared(tmp_path, folders(tmp_path, "rain/*.png", "norain/*.png"))
    assert [(Path(fault["file"]).name, fault["kind"]) for fault in found["faults"]] == [("3.png", "scene")]
    assert "shows another scene than 3.png" in found["faults"][0]["reason"]


def test_names_that_do_not_match_are_an_error_with_examples(tmp_path: Path) -> None:
    write(tmp_path, ["x.png", "y.png"])
    for half, names in (("rain", "ab"), ("norain", "cd")):
        for old, new in zip(("x.png", "y.png"), names, strict=True):
            (tmp_path / half / old).rename(tmp_path / half / f"{new}.png")
    with pytest.raises(
        DataError, match=r"none of 2 rainy pictures \(a\.png, b\.png\) matches one of 2 clean ones \(c\.png, d\."
    ):
        prepared(tmp_path, folders(tmp_path, "rain/*.png", "norain/*.png"))


def test_a_linked_test_folder_and_a_single_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "set/train", ["0.png", "1.png"])
    write(tmp_path / "store/test", ["0.png", "1.png", "2.png"])
    for path in (tmp_path / "store/test").rglob("*.png"):  # other pictures than those of training
        path.rename(path.with_name(f"t{path.name}"))
    dataset = Published(source="benchmark", name="realrain-1k", path=str(tmp_path / "set")).model_dump()
    assert {split for split, _ in prepared(tmp_path, dataset)["pairs"]} == {"train", "validation"}
    assert "realrain-1k: all 2 pairs are train, none is test" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "set/test").symlink_to("../store/test")
    found = prepared(tmp_path, dataset)
    assert [split for split, _ in found["pairs"]].count("test") == 3
