"""A folder of pairs in the making: what stays of it and for whom, who may be in it, and which files count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from rdmc.data.images import as_png
from rdmc.data.pairs import PairEntry, write_pair
from rdmc.data.partial import intact, partial_folder, remove_strays
from rdmc.errors import DataError
from tests.support.imports import ROOT


def pair(folder: Path, name: str, split: str = "train") -> PairEntry:
    picture = as_png(np.random.default_rng(len(name)).integers(0, 256, (20, 24, 3), dtype=np.uint8))
    return write_pair(folder, split, name, name, picture, picture)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def stopped(target: Path, depends: object, error: BaseException) -> Path:
    """A folder with a file and a row in its journal, left by ``error``."""

    def work() -> None:
        with partial_folder(target, depends) as (folder, journal):
            (folder / "file").write_text("here")
            journal.add(len(journal.rows), {"x": 1})
            raise error

    with pytest.raises(type(error)):
        work()
    return target.parent


def test_an_interrupted_folder_goes_on_and_becomes_the_target(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    stopped(target, ["a", 1], KeyboardInterrupt())
    assert names(target) == ["old"]
    with partial_folder(target, ["a", 1]) as (folder, journal):
        assert (folder / "file").read_text() == "here"
        assert journal.rows == {0: {"x": 1}}
        assert folder.parent == tmp_path
        assert folder.name.startswith(".out.")
    assert names(tmp_path) == ["out/file"], "neither journal nor lock"
    assert target.stat().st_mode & 0o777 == 0o755


def test_other_values_begin_anew_and_remove_what_was_left(tmp_path: Path) -> None:
    stopped(tmp_path / "out", "a", KeyboardInterrupt())
    stopped(tmp_path / "out-2", "a", KeyboardInterrupt())
    with partial_folder(tmp_path / "out", "b") as (folder, journal):
        assert (names(folder), journal.rows) == ([".lock"], {})
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(".")]) == 1, "that of out-2"


@pytest.mark.parametrize("again", ["a", "b"])
def test_a_process_killed_while_it_took_the_place_of_a_target_is_no_obstacle(tmp_path: Path, again: str) -> None:
    target = tmp_path / "out"
    killed = dedent(f"""
        import os, shutil, signal
        from pathlib import Path
        from rdmc.data.partial import partial_folder
        shutil.rmtree = lambda path, **_: path.exists() and os.kill(os.getpid(), signal.SIGKILL)
        with partial_folder(Path({str(tmp_path / "out")!r}), "a") as (folder, _):
            (folder / "new").touch()
    """)
    target.mkdir()
    (target / "old").touch()
    done = subprocess.run([sys.executable, "-c", killed], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -9
    assert (names(target), len(list(tmp_path.glob(".out.*.old")))) == (["new"], 1)
    with partial_folder(target, again) as (folder, _):
        (folder / "newer").touch()
    assert names(tmp_path) == ["out/newer"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_target_that_was_only_set_aside_goes_back(tmp_path: Path) -> None:
    aside = tmp_path / ".out.1234.part.old"
    aside.mkdir()
    (aside / "old").touch()
    stopped(tmp_path / "out", "b", DataError("bad"))
    assert names(tmp_path) == ["out/old"]


def test_a_refused_dataset_leaves_nothing(tmp_path: Path) -> None:
    assert list(stopped(tmp_path / "out", "a", DataError("bad")).iterdir()) == []


def test_two_processes_are_not_in_one_folder(tmp_path: Path) -> None:
    held = dedent(f"""
        import sys
        from pathlib import Path
        from rdmc.data.partial import partial_folder
        with partial_folder(Path({str(tmp_path / "out")!r}), sys.argv[1]) as (folder, _):
            (folder / "file").touch()
            print("in", flush=True)
            sys.stdin.read()
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = subprocess.Popen(
        [sys.executable, "-c", held, "a"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "in\n"
    with pytest.raises(DataError, match="another process is making these pairs"), partial_folder(tmp_path / "out", "a"):
        pass
    with partial_folder(tmp_path / "out", "b"):
        assert len(list(tmp_path.glob(".out.*.part/file"))) == 1, "it is not removed while someone works there"
    other.kill()
    other.communicate()
    with partial_folder(tmp_path / "out", "a") as (folder, _):
        assert (folder / "file").is_file(), "a killed process holds nothing"


def test_a_pair_is_intact_only_with_both_files_as_they_were(tmp_path: Path) -> None:
    entry = pair(tmp_path, "one")
    assert intact(tmp_path, entry)
    data = (tmp_path / entry.clean).read_bytes()
    for damaged in (data[:-1], data[:-1] + b"x", b""):
        (tmp_path / entry.clean).write_bytes(damaged)
        assert not intact(tmp_path, entry)
    (tmp_path / entry.clean).unlink()
    assert not intact(tmp_path, entry)


def test_files_of_no_pair_are_removed(tmp_path: Path) -> None:
    kept = pair(tmp_path, "one")
    pair(tmp_path, "other")
    pair(tmp_path, "third", "test")
    (tmp_path / "index.json").touch()
    remove_strays(tmp_path, [kept])
    assert names(tmp_path) == ["index.json", "train/one.clean.png", "train/one.rainy.png"]
    assert not (tmp_path / "test").exists()
