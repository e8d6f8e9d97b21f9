"""The model card: intervals by scene against the normal approximation, worst images, licences, commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.data import Embedded, Published
from pipeline.registry.model_card import Used, licence, read_images, write_card
from rdmc.datasets.benchmarks.registry import BENCHMARKS
from rdmc.errors import DataError

HEAD = "dataset,image,scene,height,width,rainy_psnr_y,derained_psnr_y,derained_ssim_y,gain_psnr_y"
ROWS = ["light,test-0,a,40,56,25.0,27.0,0.9,2.0", "light,test-1,b,40,56,30.0,29.5,0.8,-0.5", "heavy,test|2,a,40,56,15,20,0.7,5"]
EMBEDDED = Embedded(source="embedded", rain="light", variants=6)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images.csv").write_text("\n".join([HEAD, *ROWS]) + "\n")
    return tmp_path / "images.csv"


def card(images: Path, **facts: str) -> str:
    used = [
        Used("light", "ab" * 32, {"train": 2, "validation": 0, "test": 2}, EMBEDDED),
        Used("heavy", "cd" * 32, {"train": 0, "validation": 9, "test": 24}, EMBEDDED),
    ]
    known = {"run_id": "r1", "version": "7", "date": "2026-01-31", "model_sha256": "cd", **facts}
    return write_card("rain", {"kind": "rdmc"}, used, images, known, {"seed": 0})


def test_the_card_has_figures_failures_and_commands(images: Path) -> None:
    known = {"registered_commit": "e" * 40, "version": "7", "rebuild": "rebuild/ab"}
    text = card(images, code="committed", **known)
    assert text.startswith("# rain, version 7, 2026-01-31\n")
    assert "| overall | 3 | 2 | 23.33 | " in text, "two scenes are too few for an interval"
    assert "| heavy | 1 | 1 | 15.00 | 20.00" in text
    assert "1 of 3 test images came out worse" in text
    worst = [line for line in text.splitlines() if line.startswith(("| light | test", "| heavy | test"))]
    assert [line.split(" | ")[-1] for line in worst] == ["-0.50 |"], "an image that gains is no failure"
    assert "| light | 2 train, 2 test |" in text
    assert "| heavy | 9 validation, 24 test |" in text
    assert f"git checkout {'e' * 40}" in text
    assert "python -m pipeline rebuild 7 ../" in text
    assert "its code is rdmc/x.py not as in the commit" in card(images, code="rdmc/x.py not as in the commit", **known)
    assert "its code is not known" in card(images)


def test_licences_come_from_the_registry_of_benchmarks() -> None:
    known = BENCHMARKS["rain1400"]
    text = licence(Published(source="benchmark", name="rain1400", path="raw/rain1400"))
    assert known.title in text
    assert known.licence in text
    assert "scikit-image" in licence(EMBEDDED)


def test_missing_results_name_the_command(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("dataset,image\nlight,a\n")
    for path in (tmp_path / "none.csv", tmp_path / "images.csv"):
        with pytest.raises(DataError, match="dvc repro evaluate"):
            read_images(path)


def test_the_failures_are_images_that_lose_the_worst_first(tmp_path: Path) -> None:
    gains = [0.5, -1, -3, -2, -6, -5, -4]
    rows = [f"heavy,a|{number},{number},40,56,20,{20 + gain},0.7,{gain}" for number, gain in enumerate(gains)]
    (tmp_path / "images.csv").write_text("\n".join([HEAD, *rows]))
    used = [Used("heavy", "cd" * 32, {"test": 7}, EMBEDDED)]
    facts = {"run_id": "r1", "version": "1", "date": "2026-01-31"}
    text = write_card("rain", {}, used, tmp_path / "images.csv", facts, {})
    assert [line.split(" | ")[-1] for line in text.splitlines() if "a\\|" in line] == [
        f"-{gain}.00 |" for gain in (6, 5, 4, 3, 2)
    ]
    assert "6 of 7 test images came out worse than they went in. The worst of them:" in text, "a name does not break the table"
    (tmp_path / "images.csv").write_text("\n".join([HEAD, rows[0]]))
    assert "None of the 1 test images" in write_card("rain", {}, used, tmp_path / "images.csv", facts, {})
