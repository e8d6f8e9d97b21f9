"""``derain`` of a folder with links: they are followed, a loop is an error, and a broken link is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.serving import derain
from rdmc.data.images import read_rgb, write_png
from rdmc.errors import DataError
from tests.support.data import scene


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a picture, a linked picture and a linked folder of two pictures."""
    for number, name in enumerate(("photos/a.png", "store/b.png", "store/sub/c.png", "d.png")):
        write_png(tmp_path / name, scene(number, 32, 40))
    (tmp_path / "photos/linked").symlink_to("../store")
    (tmp_path / "photos/d.png").symlink_to("../d.png")
    return tmp_path / "photos"


def test_linked_pictures_and_folders_are_derained(photos: Path, tmp_path: Path) -> None:
    derain.run(photos, tmp_path / "out", "reference", Settings())
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["a.png", "d.png", "linked/b.png", "linked/sub/c.png"]
    assert not (tmp_path / "out/linked").is_symlink()
    for number, name in enumerate(("photos/a.png", "store/b.png", "store/sub/c.png", "d.png")):
        assert np.array_equal(read_rgb(tmp_path / name), scene(number, 32, 40)), "inputs stay as they are"


def test_a_loop_is_an_error_of_one_line_and_nothing_is_written(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "store/sub/back").symlink_to(photos)
    with pytest.raises(DataError, match="linked/sub/back: a link to a folder above it, the rule is no loops; remove") as caught:
        derain.run(photos, tmp_path / "out", "reference", Settings())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_broken_link_is_named_and_the_others_are_derained(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match="1 of 5 pictures failed, named above"):
        derain.run(photos, tmp_path / "out", "reference", Settings())
    assert "gone.png: a broken link" in " ".join(capsys.readouterr().out.split())
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4


def test_results_inside_the_source_that_a_link_leads_to_are_not_derained_again(photos: Path) -> None:
    derain.run(photos, photos / "out", "reference", Settings())
    (photos / "alias").symlink_to("out")
    derain.run(photos, photos / "out", "reference", Settings(), overwrite=True)
    found = sorted(path.relative_to(photos / "out").as_posix() for path in (photos / "out").rglob("*.png"))
    assert found == ["a.png", "d.png", "linked/b.png", "linked/sub/c.png"]
