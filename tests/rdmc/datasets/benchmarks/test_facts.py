"""The facts of every benchmark: each has a source, and counts, figures and hints are of a form that the code can use."""

from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError

import pytest

from rdmc.data.pairs import SPLITS, clean_name
from rdmc.datasets.benchmarks.facts import PLAIN, Benchmark, Copy, Note
from rdmc.datasets.benchmarks.registry import BENCHMARKS
from rdmc.datasets.layouts import Hints
from rdmc.datasets.names import plain_role

EVERY = pytest.mark.parametrize("entry", BENCHMARKS.values(), ids=BENCHMARKS)


@EVERY
def test_every_fact_has_a_source(entry: Benchmark) -> None:
    assert all((entry.title, entry.paper, entry.split, entry.licence, entry.licence_source, entry.layouts))
    assert entry.home.startswith("http")
    assert all(note.text and note.source for note in entry.notes)
    assert all(result.method and result.convention and result.source for result in entry.results)
    for copy in entry.copies:
        assert copy.what
        assert copy.source
        assert bool(copy.psnr_y) == bool(copy.psnr_source)


@EVERY
def test_figures_are_possible(entry: Benchmark) -> None:
    assert all(15 < result.psnr < 60 for result in entry.results)
    assert all(result.ssim is None or 0.5 < result.ssim < 1 for result in entry.results)
    for copy in entry.copies:
        assert copy.pairs
        assert all(count > 0 for count in copy.pairs.values())
        assert set(copy.psnr_y) <= set(copy.pairs) <= set(SPLITS)
        assert all(8 < psnr < 45 for psnr in copy.psnr_y.values())


@EVERY
def test_a_derained_image_is_closer_than_its_rainy_one(entry: Benchmark) -> None:
    figures = [copy.psnr_y["test"] for copy in entry.copies if copy.whole and "test" in copy.psnr_y]
    assert all(result.psnr > figure for result in entry.results for figure in figures)


@EVERY
def test_the_first_copy_is_a_whole_one_and_parts_are_smaller(entry: Benchmark) -> None:
    assert not entry.copies or entry.copies[0].whole
    for part in (copy for copy in entry.copies if not copy.whole):
        assert all(count < entry.copies[0].pairs[split] for split, count in part.pairs.items())


@EVERY
def test_names_are_unique_and_may_name_a_folder(entry: Benchmark) -> None:
    assert entry.name == clean_name(entry.name)
    assert sum(entry.title == other.title for other in BENCHMARKS.values()) == 1
    for told in (
        [copy.what for copy in entry.copies],
        [note.text for note in entry.notes],
        [(result.method, result.convention) for result in entry.results],
        entry.layouts,
    ):
        assert max(Counter(told).values(), default=1) == 1


@EVERY
def test_hints_are_such_as_the_layouts_use(entry: Benchmark) -> None:
    hints = entry.hints
    assert hints.left in ("", "clean", "rainy")
    assert hints.split in ("", *SPLITS)
    assert not (hints.split and hints.tests_from), "a split of its own for every file leaves no rule by number"
    assert hints.rainy == {name.lower() for name in hints.rainy}
    assert not any(map(plain_role, hints.rainy)), "known without a hint, or known as something else"
    assert entry.kind in ("synthetic", "real", "unpaired")


def test_facts_cannot_be_changed_and_have_no_more_than_is_said() -> None:
    copy, note = Copy("whole", {"test": 2}, "counted"), Note("a thing to know", "counted")
    with pytest.raises(FrozenInstanceError):
        copy.what = "another"  # type: ignore[misc]
    assert (copy.whole, dict(copy.psnr_y), copy.psnr_source) == (True, {}, "")
    entry = Benchmark("x", "X", "real", "http://x", "paper", "none stated", "counted", ("folder",), "2 test pairs")
    assert (entry.copies, entry.notes, entry.results, entry.hints) == ((), (), (), PLAIN)
    assert Hints() == PLAIN
    assert note != Note("a thing to know", "somebody")
