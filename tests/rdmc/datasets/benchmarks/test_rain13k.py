"""The collection Rain13K: its folders are sets that other entries know under another name, with the same counts."""

from __future__ import annotations

import re

import pytest

from rdmc.datasets.benchmarks.rain13k import RAIN13K
from rdmc.datasets.benchmarks.synthetic import SYNTHETIC

BY_NAME = {entry.name: entry for entry in (*SYNTHETIC, *RAIN13K)}
TRAINING, *TESTS = RAIN13K


def test_names_are_unique_beside_those_of_the_other_synthetic_ones() -> None:
    assert len(BY_NAME) == len(SYNTHETIC) + len(RAIN13K)
    assert {entry.kind for entry in RAIN13K} == {"synthetic"}


def test_the_training_set_names_test_sets_that_are_known() -> None:
    named = re.search(r"\(tests: (.*)\)$", TRAINING.title)
    assert named
    names = named[1].split(", ")
    assert set(names) <= set(BY_NAME)
    assert {entry.name for entry in TESTS} <= set(names)


def test_folders_without_a_split_in_their_name_have_the_right_one() -> None:
    for entry, split in ((TRAINING, "train"), *((test, "test") for test in TESTS)):
        assert entry.hints.split == split
        assert all(set(copy.pairs) == {split} for copy in entry.copies)


def test_the_training_set_lacks_the_one_pair_that_was_removed() -> None:
    downloaded, stated = (copy.pairs["train"] for copy in TRAINING.copies)
    assert stated - downloaded == 1
    assert all(f"{count:,}" in TRAINING.split for count in (downloaded, stated))


@pytest.mark.parametrize(("folder", "original"), [("test100", "rain800"), ("test1200", "rain1200")])
def test_a_test_set_in_folders_has_the_pairs_of_the_original(folder: str, original: str) -> None:
    expected = BY_NAME[original].copies[0]
    copy = next(copy for copy in BY_NAME[folder].copies if copy.pairs["test"] == expected.pairs["test"])
    assert copy.psnr_y.get("test") == expected.psnr_y.get("test")


def test_test2800_counts_its_duplicate() -> None:
    whole, early = (copy.pairs["test"] for copy in BY_NAME["test2800"].copies)
    assert (whole, early - whole) == (2800, 1)
    assert whole == 2 * BY_NAME["rain1400"].copies[0].pairs["test"], "half of it is taken from the training pairs"
