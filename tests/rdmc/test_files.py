from pathlib import Path

import pytest

from rdmc.files import new_folder, write_bytes, write_text


def test_new_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for text in ("one", "two"):
        with new_folder(target) as folder:
            (folder / text).write_text(text)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_new_folder_leaves_the_old_one_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "kept").touch()

    def fail() -> None:
        with new_folder(target) as folder:
            (folder / "part").touch()
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert [path.name for path in target.iterdir()] == ["kept"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_writes_replace_and_leave_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"long first content")
    write_text(path, "ü")
    assert path.read_bytes() == "ü".encode()
    assert [found.name for found in path.parent.iterdir()] == ["file"]
