import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rdmc.data.images import Image, as_png
from rdmc.data.pairs import INDEX, QUARANTINE, Fault, move_pair, read_index, validation_scenes, write_index, write_pair
from rdmc.errors import DataError

Picture = Callable[..., Image]


def test_an_index_is_read_sorted(tmp_path: Path, picture: Picture) -> None:
    entries = [
        write_pair(tmp_path, split, name, "s", as_png(picture()), as_png(picture(seed=1)))
        for split, name in (("train", "b"), ("train", "a"), ("test", "z"))
    ]
    write_index(tmp_path, "mine", entries, 4, [Fault("x.png", "bad")])
    assert read_index(tmp_path) == [entries[2], entries[1], entries[0]]
    assert json.loads((tmp_path / INDEX).read_text())["dataset"] == "mine"
    report = json.loads((tmp_path / QUARANTINE).read_text())
    assert report["examined"] == 4
    assert report["quarantined"] == [{"file": "x.png", "reason": "bad", "kind": "unreadable"}]
    assert report["warnings"] == []


@pytest.mark.parametrize(
    ("rainy", "clean", "said"),
    [
        ((20, 30), (20, 31), "rainy is 30x20 and clean 31x20, the rule is one size"),
        ((15, 30), (15, 30), "30x15 is smaller than 16 pixels a side"),
    ],
)
def test_pictures_that_cannot_be_a_pair_are_refused(
    rainy: tuple[int, int], clean: tuple[int, int], said: str, tmp_path: Path, picture: Picture
) -> None:
    with pytest.raises(DataError, match=said):
        write_pair(tmp_path, "train", "a", "a", as_png(picture(*rainy)), as_png(picture(*clean)))
    assert list(tmp_path.iterdir()) == []


def test_a_pair_moves_with_its_files(tmp_path: Path, picture: Picture) -> None:
    entry = write_pair(tmp_path, "train", "a", "a", as_png(picture()), as_png(picture()))
    moved = move_pair(tmp_path, entry, "validation")
    assert (moved.split, moved.rainy, moved.clean) == ("validation", "validation/a.rainy.png", "validation/a.clean.png")
    assert (tmp_path / moved.rainy).is_file()
    assert not (tmp_path / entry.clean).exists()


def test_validation_takes_a_share_of_the_scenes() -> None:
    scenes = [str(i) for i in range(100)]
    chosen = validation_scenes(scenes, 0.05, 0)
    assert len(chosen) == 5
    assert chosen < set(scenes)
    assert validation_scenes(reversed(scenes * 3), 0.05, 0) == chosen
    assert validation_scenes(scenes, 0.05, 1) != chosen
    assert {len(validation_scenes(scenes[:count], 0.05, 0)) for count in range(2, 30)} == {1}
    assert len(validation_scenes(scenes[:3], 0.99, 0)) == 2
    assert validation_scenes(scenes[:1], 0.5, 0) == validation_scenes(scenes, 0.0, 0) == validation_scenes([], 0.5, 0) == set()


@pytest.mark.parametrize("text", ['{"dataset": "x"}', '{"pairs": [{"name": "a"}]}', "[]", "{", '{"pairs": 3}'])
def test_a_damaged_index_gives_a_one_line_error(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(DataError, match=r"index\.json: damaged .*; run `dvc repro prepare`"):
        read_index(tmp_path)


def test_a_missing_index_gives_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.json: no such file; run `dvc repro prepare`"):
        read_index(tmp_path)
