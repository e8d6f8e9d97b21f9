"""``prepare`` killed in the middle: finished pairs are not made again, changed ones are, and the bytes are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.data import Dataset, Prepare
from pipeline.stages import prepare
from rdmc.data.images import encode_png
from rdmc.data.journal import PieceJournal
from rdmc.datasets.matching import Match
from tests.pipeline.stages.test_prepare import STRICT, content, folders
from tests.support.imports import ROOT

COUNT, SIDE = 300, 60
SCRIPT = """
import sys
from pathlib import Path
from pipeline.stages import prepare
from tests.pipeline.stages.test_prepare import STRICT, folders

if __name__ == "__main__":
    out, images, processes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    prepare.run("mine", folders(train={"images": images, "left": "clean"}), STRICT, 0, out, processes)
"""


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pairs that this process makes from now on."""
    names: list[str] = []
    make = Match.make

    def counting(match: Match, folder: Path, judge_sides: bool = True, convert: bool = False) -> object:
        names.append(match.name)
        return make(match, folder, judge_sides, convert)

    monkeypatch.setattr(Match, "make", counting)
    return names


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Files with two halves of noise each."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        (folder / f"{number:03d}.png").write_bytes(encode_png(rng.integers(0, 256, (SIDE, 2 * SIDE, 3), dtype=np.uint8)))
    return folder


def dataset(images: Path) -> Dataset:
    return folders(train={"images": f"{images}/*.png", "left": "clean"})


def killed(out: Path, images: Path, processes: int, finished: int) -> Path:
    """The folder that ``prepare`` leaves when it is killed by SIGKILL once so many pairs are finished."""
    script = out.parent / "command.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(out), f"{images}/*.png", str(processes)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(_rows(out)) < finished:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = out.parent.glob(f".{out.name}.*.part")
    assert not out.exists()
    return folder


def _rows(out: Path) -> dict[int, dict[str, object]]:
    found = list(out.parent.glob(f".{out.name}.*.part/journal.jsonl"))
    return PieceJournal(found[0]).rows if found else {}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_command_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, images: Path, processes: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare.run("mine", dataset(images), STRICT, 0, tmp_path / "whole", 1)
    folder = killed(tmp_path / "out", images, processes, 20)
    known = {row["job"] for row in _rows(tmp_path / "out").values()}
    assert 20 <= len(known) < COUNT, "it was killed in the middle"
    time.sleep(0.5)  # its processes end with it
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    names = watched(monkeypatch)
    capsys.readouterr()
    prepare.run("mine", dataset(images), STRICT, 0, tmp_path / "out", 1)
    assert len(names) == COUNT - len(known)
    assert f"mine: {len(known)} of {COUNT} pairs were finished" in capsys.readouterr().out
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    same = [path for path, when in written.items() if _moved(path, tmp_path / "out").stat().st_mtime_ns == when]
    assert len(same) >= 2 * len(known), "the files of the finished pairs were not written again"
    assert list(tmp_path.glob(".out.*")) == []


def _moved(path: Path, out: Path) -> Path:
    """Where a file of the partial folder is now; some training pairs became validation pairs."""
    return next(found for split in ("train", "validation") if (found := out / split / path.name).exists())


def interrupted(out: Path, images: Path, after: int, rules: Prepare = STRICT) -> Path:
    """The folder that ``prepare`` leaves when it is interrupted at a pair."""
    count, make = 0, Match.make

    def making(match: Match, folder: Path, judge_sides: bool = True, convert: bool = False) -> object:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return make(match, folder, judge_sides, convert)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Match, "make", making)
        with pytest.raises(KeyboardInterrupt):
            prepare.run("mine", dataset(images), rules, 0, out, 1)
    (folder,) = out.parent.glob(f".{out.name}.*.part")
    return folder


@pytest.fixture
def few(images: Path) -> Path:
    for path in sorted(images.iterdir())[8:]:
        path.unlink()
    return images


def test_damaged_and_half_written_pairs_and_changed_files_are_made_again(
    tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lenient = Prepare(max_quarantined=1.0)
    folder = interrupted(tmp_path / "out", few, 6, lenient)
    (folder / "train/000.rainy.png").write_bytes(b"half")
    (folder / "train/001.clean.png").unlink()
    (folder / "train/007.rainy.png").write_bytes(b"half of a pair that is in no journal")
    (folder / "train/of-no-pair.rainy.png").write_bytes(b"")
    (few / "003.png").write_bytes((few / "007.png").read_bytes()[:-40])  # a pair before, now a fault
    (few / "005.png").write_bytes(encode_png(np.random.default_rng(99).integers(0, 256, (40, 80, 3), dtype=np.uint8)))
    prepare.run("mine", dataset(few), lenient, 0, tmp_path / "whole", 1)
    names = watched(monkeypatch)
    prepare.run("mine", dataset(few), lenient, 0, tmp_path / "out", 1)
    assert names == ["000", "001", "003", "005", "006", "007"]
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_other_rules_begin_anew(tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = interrupted(tmp_path / "out", few, 5)
    second = interrupted(tmp_path / "out", few, 3, Prepare(max_quarantined=0.5))
    assert first != second
    assert not first.exists()
    names = watched(monkeypatch)
    prepare.run("mine", dataset(few), STRICT, 1, tmp_path / "out", 1)
    assert len(names) == 8, "another seed"


def test_pairs_that_were_set_aside_are_known_too(tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (few / "002.png").write_bytes((few / "002.png").read_bytes()[:-40])
    lenient = Prepare(max_quarantined=1.0)
    interrupted(tmp_path / "out", few, 4, lenient)
    names = watched(monkeypatch)
    prepare.run("mine", dataset(few), lenient, 0, tmp_path / "out", 1)
    assert names == ["004", "005", "006", "007"]
    assert [Path(one["file"]).name for one in json.loads((tmp_path / "out/quarantine.json").read_text())["quarantined"]] == [
        "002.png"
    ]
