"""The tables of a comparison: what each says, and the lines beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.comparison import tables
from pipeline.comparison.entrants import Entrant
from pipeline.comparison.leaderboard import Board, PerceptualMean, board
from pipeline.comparison.measure import Outcome
from pipeline.comparison.sets import pair_sets
from pipeline.evaluation.bootstrap import Interval
from rdmc.data.pairs import Fault
from rdmc.datasets.benchmarks.registry import BENCHMARKS
from rdmc.quality.conventions import NAMES, Fidelity
from tests.support.comparison import pair_folder, small_network

NET, INPUT = Entrant("net", "here", "a" * 64, small_network()), Entrant("rainy", "the input", "")


@pytest.fixture
def made(tmp_path: Path) -> Board:
    """Ten images; the net is infinitely good on one and fails on another."""
    data = pair_sets([str(pair_folder(tmp_path / "set", 10))], None)[0]
    good = [Outcome(dict.fromkeys(NAMES, Fidelity(30.0 + at, 0.95)), 0.25) for at in range(8)]
    net = [
        *good,
        Outcome(dict.fromkeys(NAMES, Fidelity(float("inf"), 1.0)), 0.25),
        Outcome({}, 0.0, "its output is not finite"),
    ]
    rainy = [Outcome(dict.fromkeys(NAMES, Fidelity(20.0, 0.8)), 0.0)] * 10
    return board(data, [NET, INPUT], {"net": net, "rainy": rainy})


def test_the_ranking_has_means_intervals_and_counts(made: Board) -> None:
    shown = tables.ranking(made, "net")
    assert shown.title == "set: 10 pairs"
    net, rainy = (dict(zip(shown.columns, row, strict=True)) for row in shown.rows)
    assert (net["PSNR-Y, dB"], net["dB above net"], net["identical"], net["failed"]) == ("33.50", "first", "1", "1")
    assert (net["s an image"], rainy["s an image"]) == ("0.25", "-")
    assert (rainy["PSNR-Y, dB"], rainy["dB above net"]) == ("20.00", "-13.50")
    assert " to " in shown.rows[0][2]


def test_every_convention_is_beside_the_others(made: Board) -> None:
    shown = tables.by_convention(made)
    assert shown.columns == ["model", *NAMES]
    assert shown.rows[1] == ["rainy", *["20.00 / 0.8000"] * 6]


def test_perceptual_measures_have_a_table_of_their_own(made: Board) -> None:
    assert tables.perceptual(made, "net") is None
    one = PerceptualMean(9, Interval(0.12344, 0.1, 0.15), None)
    other = PerceptualMean(10, Interval(0.2, 0.18, 0.22), Interval(0.08, 0.05, 0.11))
    net, rainy = made.standings
    seen = replace(made, standings=(replace(net, perceptual={"DISTS": one}), replace(rainy, perceptual={"DISTS": other})))
    shown = tables.perceptual(seen, "net")
    assert shown
    assert shown.title.endswith("(lower is better)")
    assert shown.columns == ["model", "DISTS", "95%", "above net", "95%", "images"]
    assert shown.rows[0] == ["net", "0.1234", "0.1000 to 0.1500", "first", "", "9"]
    assert shown.rows[1] == ["rainy", "0.2000", "0.1800 to 0.2200", "+0.0800", "+0.0500 to +0.1100", "10"]
    failed = replace(seen, standings=(seen.standings[0], replace(rainy, perceptual={})))
    assert (tables.perceptual(failed, "net") or shown).rows[1] == ["rainy", *["-"] * 4, "0"]


def test_published_figures_name_convention_training_and_source(made: Board) -> None:
    assert tables.published(made) is None
    entry = BENCHMARKS["rain100l"]
    part = replace(made, data=replace(made.data, entry=entry, copy=entry.copies[1]))
    shown = tables.published(part)
    assert shown
    assert shown.title.endswith("on the whole set: they do not compare with figures on this part")
    assert shown.rows[0] == [
        "PReNet",
        "37.48",
        "0.979",
        "luma of outputs cut to whole levels (y-cut)",
        "the benchmark's own training pairs",
        "README of csdwren/PReNet",
    ]
    whole = tables.published(replace(part, data=replace(part.data, copy=entry.copies[0])))
    assert whole
    assert whole.title == "set: published figures"
    assert tables.published(replace(part, data=replace(part.data, split="train"))) is None
    assert "Rain100L" in tables.titled(part)


def test_lines_name_what_was_set_aside_failed_or_is_identical(made: Board) -> None:
    faults = [Fault(f"{number}.png", "has no clean image") for number in range(5)]
    lines = tables.remarks(replace(made, data=replace(made.data, faults=faults)))
    assert lines[0].startswith("set: 5 files set aside: 0.png: has no clean image; 1.png")
    assert lines[0].endswith("; and 2 more")
    assert "set: net failed on 1 image: 9: its output is not finite" in lines
    assert any("1 output of net equal" in line and "in no mean PSNR" in line for line in lines)


def test_costs_are_those_of_the_networks() -> None:
    shown = tables.costs([NET, INPUT], {"net": 12.3})
    assert shown.rows[0][3] == "12"
    assert shown.rows[0][5] == "a" * 12
    assert shown.rows[1] == ["rainy", "-", "-", "-", "the input", "-"]
