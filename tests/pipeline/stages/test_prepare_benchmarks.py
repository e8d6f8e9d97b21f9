"""Local copies of benchmarks are prepared by the documented lines and recognised. Skipped where there is no copy."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.data import Prepare, Published
from pipeline.data import fetch
from pipeline.stages import prepare
from rdmc.data.pairs import read_index
from rdmc.errors import DataError
from tests.support.imports import ROOT

DATA = ROOT.parent / "shared/data"
RULES = Prepare(max_quarantined=0.05)


def copy(name: str, path: str, partial: bool = True) -> Published:
    folder = DATA / path
    if not folder.is_dir():
        pytest.skip(f"no copy of {name} at {folder}")
    return Published(source="benchmark", name=name, path=str(folder), partial=partial)


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "quarantine.json").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "path", "layout", "figures", "said"),
    [
        ("rain100l", "rain100l", "folder: 50 test pairs", {"test": (50, 27.38)}, "even-numbered half"),
        (
            "rain200h",
            "rain200h-samples",
            "folder: 20 train, 5 test",
            {"train": (20, 14.64), "test": (5, 13.85)},
            "sample in the",
        ),
        ("rain1400", "rain1400-sample", "one-clean-many-rainy: 28 test", {"test": (28, 25.22)}, "scenes 901 and 902"),
        pytest.param(
            *("rain800", "rain800", "side-by-side, clean on the left: 700 train, 100 test"),
            *({"train": (700, 22.94), "test": (100, 22.59)}, "whole"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_local_copy_is_recognised(
    name: str, path: str, layout: str, figures: dict[str, tuple[int, float]], said: str, tmp_path: Path
) -> None:
    prepare.run(name, copy(name, path), RULES, 0, tmp_path / "out", processes=2 if name == "rain800" else 1)
    found = report(tmp_path / "out")
    assert found["layout"].startswith(layout)
    assert {split: (values["read"], round(values["psnr_y"], 2)) for split, values in found["splits"].items()} == figures
    assert any(line.startswith(f"{name}: this looks like Rain") and said in line for line in found["said"])
    assert {fault["kind"] for fault in found["quarantined"]} <= {"duplicate"}
    assert len(read_index(tmp_path / "out")) >= 0.9 * sum(count for count, _ in figures.values())


def test_a_part_of_a_benchmark_is_refused_unless_declared(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"test has 28 pairs, input 25\.22 dB: scenes 901 and 902, figures on it cannot be compared"
    ):
        prepare.run("x", copy("rain1400", "rain1400-sample", partial=False), RULES, 0, tmp_path / "out", processes=1)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.quarantine.json").is_file()


def test_another_benchmark_than_the_one_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rain12: test has 28 pairs, .* it looks like Rain1400, .* scenes 901 and 902"):
        prepare.run("x", copy("rain12", "rain1400-sample"), RULES, 0, tmp_path / "out", processes=1)


def test_photographs_without_ground_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpaired, training and measuring need pairs; use `python -m pipeline unpaired "):
        prepare.run("x", copy("sirr-real", "real"), RULES, 0, tmp_path / "out", processes=1)


def test_fetch_shows_the_line_for_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(copy("rain200h", "rain200h-samples").path)
    fetch.run(str(source), tmp_path / "raw", "", dvc=False)
    said = " ".join(capsys.readouterr().out.split())
    assert f"rain200h: {{source: benchmark, name: rain200h, path: {tmp_path / 'raw'}, partial: true}}" in said
