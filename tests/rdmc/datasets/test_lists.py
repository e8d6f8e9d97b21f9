"""Lists of pairs as people write them, and lines that are errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdmc.datasets.layouts import Hints, find_pairs
from rdmc.datasets.lists import read_lists
from rdmc.errors import DataError

LINES = [f"rain/{i}.png gt/{i}.png" for i in range(5)]
WANTED = [(f"rain/{i}.png", f"gt/{i}.png") for i in range(5)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("rain", "gt"):
        (tmp_path / folder).mkdir()
        for i in range(5):
            (tmp_path / folder / f"{i}.png").touch()
    return tmp_path


def read(root: Path, data: bytes | str, name: str = "pairs.txt") -> list[tuple[str, str]]:
    (root / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return [
        (rainy.relative_to(root).as_posix(), clean.relative_to(root).as_posix())
        for pairs in read_lists(root).values()
        for rainy, clean in pairs
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LINES),
        "\n\n" + "\n  \n".join(LINES) + "\n\n",
        "# rainy clean\n" + "\n".join([*LINES[:2], "# part two", "// part", "; x", "% y", *LINES[2:]]),
        "\r\n".join(LINES) + "\r\n",
        "\r".join(LINES),
        "\ufeff" + "\n".join(LINES),
        "\n".join(line.replace(" ", "\t") for line in LINES),
        "\n".join(line.replace(" ", ",") for line in LINES),
        "\n".join(line.replace(" ", " ; ") for line in LINES),
        "rainy,clean\n" + "\n".join(line.replace(" ", ",") for line in LINES),
        "gt input\n" + "\n".join(" ".join(line.split()[::-1]) for line in LINES),
        "\n".join(" ".join(line.split()[::-1]) for line in LINES),
        "\n".join(line.replace("/", "\\") for line in LINES),
        "\n".join(" ".join(f'"/{name}"' for name in line.split()) for line in LINES),
        "\n".join([*LINES[:4], LINES[4] + "   # the last"]),
    ],
)
def test_a_list_is_read_in_every_common_form(root: Path, text: str) -> None:
    assert read(root, text) == WANTED
    assert read(root, text.encode("utf-16")) == WANTED
    assert len(find_pairs(root, Hints(split="train")).matches) == 5


def test_names_with_spaces_are_found_where_they_are(root: Path) -> None:
    for name in ("rain/im 3.png", "gt/im 3.png", "rain/a.png b.png"):
        (root / name).touch()
    text = "rain/im 3.png gt/im 3.png\nrain/im 3.png,gt/3.png\nrain/a.png b.png gt/1.png\n"
    assert read(root, text) == [
        ("rain/im 3.png", "gt/im 3.png"),
        ("rain/im 3.png", "gt/3.png"),
        ("rain/a.png b.png", "gt/1.png"),
    ]


@pytest.mark.parametrize(
    "line", ["foo", "rain/1.png", "rain/1.png gt/1.png 0.5 train", "rain/1.png gt/1.png gt/2.png", "x" * 9000]
)
@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_line_that_is_not_understood_is_an_error_with_file_and_line(root: Path, line: str, place: int) -> None:
    text = "\n".join([*LINES[:place], line, *LINES[place:]])
    with pytest.raises(DataError, match=rf"pairs\.txt: line {place + 1}: .*; fix") as caught:
        read(root, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["../a.png gt/1.png", r"C:\data\1.png gt/1.png"])
def test_a_file_outside_is_refused(root: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"pairs\.txt: line 6: .* is outside"):
        read(root, "\n".join([*LINES, line]))


def test_another_text_is_no_list(root: Path) -> None:
    (root / "aaa.txt").write_text("rain.png clean.png\nare the names\n")
    (root / "readme.txt").write_bytes(b"\xff\xfe\x00 pictures\n" + b"text\n" * 3000)
    assert read(root, "\n".join(LINES)) == WANTED


def test_a_folder_named_like_a_picture_stands_for_the_one_in_it(root: Path) -> None:
    (root / "rain/9.png").mkdir()
    (root / "rain/9.png/real.png").touch()
    assert read(root, "rain/9.png gt/1.png") == [("rain/9.png/real.png", "gt/1.png")]
    (root / "rain/9.png/second.png").touch()
    with pytest.raises(DataError, match="line 1: rain/9.png is a folder of 2 pictures, the rule is a file, or a folder of one"):
        read(root, "rain/9.png gt/1.png")


def test_scenes_of_a_list_are_folders_of_clean_pictures_or_the_pictures(root: Path) -> None:
    read(root, "\n".join(LINES[:4]))
    found = find_pairs(root, Hints(split="train"))
    assert len({match.scene for match in found.matches}) == 4
    assert list(found.notes) == [f"{root}: 2 pictures are in no list and not used (first: gt/4.png)"]
    for video in ("274", "275"):
        for i in range(2):
            (root / f"gt/{video}").mkdir(exist_ok=True)
            (root / f"gt/{video}/{i}.png").touch()
    read(root, "\n".join(f"rain/{i}.png gt/{video}/{i}.png" for video in ("274", "275") for i in range(2)))
    assert len({match.scene for match in find_pairs(root, Hints(split="train")).matches}) == 2
