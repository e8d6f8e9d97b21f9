"""Benchmarks of real rain: those without ground truth have nothing to compare with, and folders that need a hint have one."""

from __future__ import annotations

from rdmc.datasets.benchmarks.real import BSD, REAL
from rdmc.datasets.benchmarks.synthetic import NONE_STATED, SYNTHETIC

BY_NAME = {entry.name: entry for entry in REAL}


def test_names_are_unique_and_none_is_synthetic() -> None:
    assert len(BY_NAME) == len(REAL)
    assert not set(BY_NAME) & {entry.name for entry in SYNTHETIC}
    assert {entry.kind for entry in REAL} == {"real", "unpaired"}


def test_photographs_without_ground_truth_have_no_counts_or_figures() -> None:
    unpaired = [entry for entry in REAL if entry.kind == "unpaired"]
    assert {entry.name for entry in unpaired} == {"sirr-real", "practical"}
    for entry in unpaired:
        assert list(entry.layouts) == ["unpaired"]
        assert (list(entry.copies), list(entry.results)) == ([], [])
        assert entry.hints.split == "test", "there is nothing to train on"
        assert "no ground truth" in entry.split


def test_copies_of_spa_data_share_their_test_set() -> None:
    entry = BY_NAME["spa-data"]
    assert {copy.pairs["test"] for copy in entry.copies} == {1000}
    counts = [copy.pairs["train"] for copy in entry.copies]
    assert len(set(counts)) == 3
    assert f"{counts[0]:,} training crops" in entry.split


def test_rainds_has_three_rains_of_each_scene() -> None:
    entry = BY_NAME["rainds"]
    assert "150 training and 98 test scenes" in entry.split
    assert dict(entry.copies[0].pairs) == {"train": 3 * 150, "test": 3 * 98}
    assert len(entry.hints.rainy) == 3
    assert all(folder in entry.layouts[0] for folder in entry.hints.rainy)


def test_licences_are_stated_or_said_to_be_missing() -> None:
    stated = {entry.name: entry.licence for entry in REAL if entry.licence != NONE_STATED}
    assert stated == {"spa-data": BSD, "gt-rain": "research purposes only"}
