"""``leaks`` of plain folders with subfolders and links."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config.data import Layout
from pipeline.stages import leaks
from rdmc.data.images import encode_png
from rdmc.errors import DataError
from tests.pipeline.cli.test_command_line import act
from tests.pipeline.stages.test_leaks import mirrored, scene


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Training pictures in a subfolder, and test pictures in a store; the second of these shows a training scene."""
    for name, pixels in (
        *(("train/deep/er/1.png", scene(1)), ("train/2.PNG", scene(2)), ("train/deep/notes.txt", None)),
        *(("store/x/1.png", scene(3)), ("store/2.jfif", mirrored(1)), ("test/4.png", scene(4))),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"text" if pixels is None else encode_png(pixels))
    return tmp_path


def found(folders: Path) -> tuple[list[tuple[str, str]], list[str], dict[str, int]]:
    """The leaks by name, the names of the files set aside, and the number of pictures by split."""
    leaks.check([str(folders / "train")], [str(folders / "test")], [Layout.CLEAN], 0.4, folders / "r.json")
    report = json.loads((folders / "r.json").read_text())
    return (
        sorted((leak["first"]["name"], leak["second"]["name"]) for leak in report["leaks"]),
        [Path(fault["file"]).name for fault in report["set_aside"]],
        {row["split"]: row["images"] for row in report["splits"]},
    )


def test_pictures_of_subfolders_and_linked_folders_are_compared(folders: Path) -> None:
    assert found(folders) == ([], [], {"train": 2, "test": 1})
    (folders / "test/linked").symlink_to("../store")
    assert found(folders) == ([("deep/er/1.png", "linked/2.jfif")], [], {"train": 2, "test": 3})
    (folders / "train/single.png").symlink_to("../store/x/1.png")
    assert found(folders)[0] == [("deep/er/1.png", "linked/2.jfif"), ("single.png", "linked/x/1.png")]


def test_a_glob_follows_links_too(folders: Path) -> None:
    (folders / "test/linked").symlink_to("../store")
    assert leaks.check([f"{folders}/train/**/*.png"], [f"{folders}/test/**/*.jfif"], [Layout.CLEAN], 0.4)
    (folders / "store/back").symlink_to("../test")
    with pytest.raises(DataError, match="a link to a folder above it, the rule is no loops; remove the link"):
        leaks.check([f"{folders}/train/**/*.png"], [f"{folders}/test/**/*.jfif"], [Layout.CLEAN], 0.4)


def test_a_loop_is_an_error_and_a_broken_link_is_set_aside_by_name(folders: Path) -> None:
    (folders / "test/deep").mkdir()
    (folders / "test/deep/gone").symlink_to("../../nowhere")
    assert found(folders) == ([], ["gone"], {"train": 2, "test": 1})
    (folders / "train/deep/back").symlink_to("..")
    done = act("leaks", "--train", str(folders / "train"), "--test", str(folders / "test"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "train/deep/back: a link to a folder above it, the rule is no loops; remove the link" in done.stderr
