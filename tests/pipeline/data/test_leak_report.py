"""The report of leaks: what is written is what ``pack`` reads, and the sheets show both images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.leak_report import draw_sheets, read_excluded, write_report
from rdmc.data.images import encode_png, read_rgb
from rdmc.data.pairs import Fault
from rdmc.datasets.leakage import Scene, Twin
from rdmc.errors import DataError
from tests.support.data import scene

TRAIN = Scene("light", "train", "a", Path("a.png"), pairs=("a-1", "a-2"))
TEST = Scene("heavy", "test", "t", Path("t.png"), pairs=("t",))


def test_leaks_are_excluded_by_pair_and_duplicates_are_not(tmp_path: Path) -> None:
    path = tmp_path / "leaks.json"
    twins = [Twin(TRAIN, TEST, "leak", "mirrored", 0.9), Twin(TEST, TEST, "duplicate", "as it is", 1.0)]
    write_report(path, 0.4, [{"dataset": "light", "split": "train"}], twins, [Fault("bad.png", "zero bytes")])
    shown = "shows t, test of heavy (score 0.9)"
    assert read_excluded(path, "light") == {"train/a-1": shown, "train/a-2": shown}
    assert read_excluded(path, "heavy") == {}
    report = json.loads(path.read_text())
    assert [len(report[kind]) for kind in ("leaks", "duplicates", "splits")] == [1, 1, 1]
    assert (report["score"], report["set_aside"]) == (0.4, [{"file": "bad.png", "reason": "zero bytes"}])


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{", "JSONDecodeError"), ('{"version": 2}', "version 2, this program reads 1"), ('{"version": 1}', "KeyError")],
)
def test_a_damaged_report_is_one_line(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "leaks.json").write_text(content)
    with pytest.raises(DataError, match=rf"leaks\.json: damaged \(.*{reason}.*\); run `dvc repro -f leaks`") as caught:
        read_excluded(tmp_path / "leaks.json", "light")
    assert "\n" not in str(caught.value)


def test_a_sheet_shows_both_images_side_by_side(tmp_path: Path) -> None:
    for name, pixels in (("a", np.full((40, 60, 3), (255, 0, 0), np.uint8)), ("t", scene(1))):
        (tmp_path / f"{name}.png").write_bytes(encode_png(pixels))
    first, second = (Scene("light", "train", name, tmp_path / f"{name}.png") for name in ("a", "t"))
    (path,) = draw_sheets(tmp_path / "sheets", [Twin(first, second, "leak", "mirrored", 0.9)])
    sheet = read_rgb(path)
    red = (sheet == (255, 0, 0)).all(axis=-1)
    assert path.name == "sheet-000.png"
    assert red.sum() == 40 * 60
    assert not red[:, 330:].any(), "the second image is on the right"
