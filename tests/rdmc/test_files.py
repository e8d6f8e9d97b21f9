import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rdmc.errors import ConfigError, DataError
from rdmc.files import check_writable, globbed, new_folder, pictures, walk, write_bytes, write_text
from tests.support.imports import ROOT


def test_new_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for text in ("one", "two"):
        with new_folder(target) as folder:
            (folder / text).write_text(text)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_target_that_cannot_be_written_is_refused_and_a_check_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for good in (None, tmp_path / "a.json", tmp_path / "new/deep/a.json", tmp_path / "file"):
        check_writable(good)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for bad, said in (
        (tmp_path, "is a folder; name a file"),
        (tmp_path / "file/a.json", "nothing can be written in .*file"),
        (Path("/proc/a.json"), "nothing can be written in /proc"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_writable(bad)


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


def test_two_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda letter: write_bytes(path, letter.encode() * 100_000), "abcd" * 25))
    assert len(set(path.read_text())) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_new_folder_puts_the_old_one_back_when_it_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/kept").touch()
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if (path / "part").exists():
            raise PermissionError("refused")
        return rename(path, target)

    def replace() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "part").touch()

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        replace()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["out", "out/kept"]


def test_a_write_that_fails_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "taken/inner").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_bytes(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_dvc_does_not_see_what_a_killed_process_leaves() -> None:
    ignored = [
        "data/shards/.light.k1ll3d/train-00000.tar",
        "data/shards/light/.manifest.json.123",
        "data/pairs/.light.0123456789abcdef.part/train/a.rainy.png",
    ]
    command = [sys.executable, "-m", "dvc", "check-ignore", *ignored, "data/shards/light/manifest.json"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() == ignored


def test_links_to_folders_are_followed_and_a_loop_is_an_error(tmp_path: Path) -> None:
    for name in ("set/train/1.png", "store/test/2.PNG", "store/test/.hidden.png", "store/test/notes.md", "set/__MACOSX/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "set/test").symlink_to("../store/test")
    found = [path.relative_to(tmp_path / "set").as_posix() for path in walk(tmp_path / "set")]
    assert found == ["test/2.PNG", "test/notes.md", "train/1.png"]
    assert [path.name for path in pictures(tmp_path / "set")] == ["2.PNG", "1.png"]
    (tmp_path / "store/test/back").symlink_to(tmp_path / "set")
    with pytest.raises(DataError, match="back: a link to a folder above it, the rule is no loops; remove the link"):
        walk(tmp_path / "set")


def test_a_broken_link_that_may_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/1.png").symlink_to("gone.png")  # found, and reported where it is read
    assert [path.name for path in pictures(tmp_path / "set")] == ["1.png"]
    (tmp_path / "set/test").symlink_to("../store/test")
    with pytest.raises(DataError, match=r"set/test: a broken link, perhaps to a folder; restore \.\./store/test or remove"):
        pictures(tmp_path / "set")


def test_a_recursive_glob_follows_links_once_and_refuses_loops(tmp_path: Path) -> None:
    for name in ("set/a/1.png", "store/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "set/b").symlink_to("../store")
    (tmp_path / "set/c").symlink_to("../store")  # twice the same folder is no loop
    found = [path.relative_to(tmp_path).as_posix() for path in globbed(f"{tmp_path}/set/**/*.png")]
    assert found == ["set/a/1.png", "set/b/2.png", "set/c/2.png"]
    (tmp_path / "store/back").symlink_to("../set")
    for pattern in (f"{tmp_path}/set/**/*.png", f"{tmp_path}/s*/**/*.png", f"{tmp_path}/**/*.png"):
        with pytest.raises(DataError, match="a link to a folder above it, the rule is no loops; remove the link"):
            globbed(pattern)
    assert len(globbed(f"{tmp_path}/set/*/*.png")) == 3


def test_a_glob_may_match_suffixes_in_any_case(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.JPG", "3.png"):
        (tmp_path / name).touch()
    assert [path.name for path in globbed(f"{tmp_path}/*.jpg", any_case=True)] == ["1.jpg", "2.JPG"]
    assert [path.name for path in globbed(f"{tmp_path}/*.jpg")] == ["1.jpg"]
    assert len(globbed(f"{tmp_path}/*", any_case=True)) == 3
