"""Benchmarks of rendered rain: the counts in words, in numbers and of other copies fit each other."""

from __future__ import annotations

import re

import pytest

from rdmc.datasets.benchmarks.facts import Benchmark
from rdmc.datasets.benchmarks.synthetic import RGB, SYNTHETIC, TABLES, Y8, Y_CUT, Y, published

BY_NAME = {entry.name: entry for entry in SYNTHETIC}
COUNTS = re.compile(r"^([\d,]+) training and ([\d,]+) test pairs")


def whole(name: str) -> dict[str, int]:
    return dict(BY_NAME[name].copies[0].pairs)


def test_names_are_unique_and_all_are_synthetic() -> None:
    assert len(BY_NAME) == len(SYNTHETIC) == 9
    assert {entry.kind for entry in SYNTHETIC} == {"synthetic"}
    assert {result.convention for entry in SYNTHETIC for result in entry.results} == {Y, Y8, Y_CUT, RGB}


@pytest.mark.parametrize("entry", [entry for entry in SYNTHETIC if COUNTS.match(entry.split)], ids=lambda entry: entry.name)
def test_the_counts_in_words_are_those_in_numbers(entry: Benchmark) -> None:
    found = COUNTS.match(entry.split)
    assert found
    train, test = (int(count.replace(",", "")) for count in found.groups())
    assert whole(entry.name) == {"train": train, "test": test}


def test_most_counts_are_compared_in_words() -> None:
    others = [entry.name for entry in SYNTHETIC if not COUNTS.match(entry.split)]
    assert others == ["rain12", "rain1200", "rain1400"]


def test_the_other_counts_are_products() -> None:
    assert "12 test pairs" in BY_NAME["rain12"].split
    assert whole("rain12") == {"test": 12}
    assert BY_NAME["rain1200"].split == "3 densities of 4,000 training pairs, 1,200 test pairs"
    assert whole("rain1200") == {"train": 3 * 4000, "test": 1200}


def test_rain1400_has_fourteen_rains_of_a_thousand_scenes() -> None:
    entry = BY_NAME["rain1400"]
    assert entry.hints.tests_from == 901
    assert whole("rain1400") == {"train": 900 * 14, "test": 100 * 14}
    assert sum(entry.copies[1].pairs.values()) == sum(whole("rain1400").values()), "the earlier split is of the same pairs"
    assert dict(entry.copies[2].pairs) == {"test": 2 * 14}


def test_rain100h_without_the_scenes_of_its_test() -> None:
    entry = BY_NAME["rain100h"]
    left_out = next(int(note.text.split()[0]) for note in entry.notes if "of the 1,800" in note.text)
    assert entry.copies[1].pairs["train"] == whole("rain100h")["train"] - left_out == 1254


def test_versions_that_carry_one_name_differ_in_their_counts() -> None:
    assert whole("rain100h") != whole("rain100h-new")
    assert whole("rain100l") != whole("rain200l")
    assert whole("rain100h-new") == whole("rain200h"), "by its counts the set that others call Rain200H"


def test_heavier_rain_has_a_lower_fingerprint() -> None:
    light, heavy = (BY_NAME[name].copies[0].psnr_y["test"] for name in ("rain100l", "rain100h"))
    assert light > heavy + 10
    for one, other in (("rain100l", "rain100h"), ("rain200l", "rain200h")):
        heavier = {result.method: result.psnr for result in BY_NAME[other].results}
        assert all(r.psnr > heavier[r.method] for r in BY_NAME[one].results if r.method in heavier)


def test_published_figures_are_of_the_luma() -> None:
    (result,) = published(("PReNet", 37.8))
    assert (result.method, result.psnr, result.ssim, result.convention, result.source) == ("PReNet", 37.8, None, Y, TABLES)
