"""Benchmarks by name, and copies recognised by their counts and fingerprints."""

import pytest

from rdmc.datasets.benchmarks.registry import BENCHMARKS, Measured, benchmark, looks_like, recognise
from rdmc.errors import ConfigError, DataError

NAMED = {"rain100l", "rain100h", "rain100h-new", "rain200l", "rain200h", "rain12", "rain800", "rain1200", "rain1400", "rain13k"}
NAMED |= {"test100", "test1200", "test2800", "spa-data", "gt-rain", "rainds", "realrain-1k", "sirr-real"}


def test_the_benchmarks_of_the_field_are_known() -> None:
    assert set(BENCHMARKS) >= NAMED
    assert all(name == entry.name for name, entry in BENCHMARKS.items())


def test_no_two_copies_have_the_same_count_and_figure_unless_they_are_the_same_files() -> None:
    prints = [
        (split, copy.pairs[split], psnr, entry.name)
        for entry in BENCHMARKS.values()
        for copy in entry.copies
        for split, psnr in copy.psnr_y.items()
    ]
    same = {(a[3], b[3]) for a in prints for b in prints if a[3] < b[3] and a[:2] == b[:2] and abs(a[2] - b[2]) < 0.2}
    assert same == {("rain800", "test100")}


def test_an_unknown_name_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match=r"'Rain100': no such benchmark \(.*rain100l.*; `python -m pipeline datasets` lists"):
        benchmark("Rain100")


def test_a_whole_copy_is_recognised() -> None:
    lines = recognise(benchmark("rain100h"), [Measured("test", 100, 13.558)], partial=False)
    assert lines[0].startswith("rain100h: this looks like Rain100H, old version")
    assert "test has 100 pairs, input 13.56 dB, as known" in lines[0]
    assert lines[1] == "rain100h: no train pairs here, the whole has 1800"


def test_a_copy_without_a_published_figure_says_so() -> None:
    lines = recognise(benchmark("rain200l"), [Measured("train", 1800, 25.0), Measured("test", 200, 25.0)], partial=False)
    assert all("no figure is published for it" in line for line in lines)
    assert "cannot be verified" in recognise(benchmark("gt-rain"), [Measured("train", 7, 20.0)], partial=False)[0]


@pytest.mark.parametrize(
    ("name", "found", "partial", "message"),
    [
        (
            "rain100h",
            Measured("test", 100, 26.90),
            False,
            r"the known copies have 13\.56 dB; it looks like Rain100L .*fetch it",
        ),
        ("rain100h-new", Measured("test", 100, 13.56), False, r"the rule is 200; it looks like Rain100H, old version"),
        ("rain100l", Measured("test", 99, 26.90), False, r"the rule is 100; add the others, or set `partial: true`"),
        (
            "rain100l",
            Measured("test", 50, 27.38),
            False,
            r"even-numbered half of the test set, figures on it cannot be compared; add",
        ),
        ("rain100l", Measured("test", 101, 26.90), True, r"the rule is 100; remove what does not belong"),
        ("rain100l", Measured("test", 40, 13.5, 2.0), True, r"a part of 100.*too far from the whole's 26\.90 dB"),
    ],
)
def test_another_copy_is_refused(name: str, found: Measured, partial: bool, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        recognise(benchmark(name), [found], partial)
    assert "\n" not in str(caught.value)


def test_a_part_is_accepted_if_its_mean_is_near_that_of_the_whole() -> None:
    (line, *_) = recognise(benchmark("rain100l"), [Measured("test", 40, 27.9, 3.4)], partial=True)
    assert line.startswith("rain100l: a part of 100: test has 40 pairs, input 27.90 dB, the whole has 26.90 dB")


def test_looks_like_names_every_copy_with_these_counts_and_this_figure() -> None:
    assert len(looks_like(Measured("test", 100, 22.6))) == 2
    assert looks_like(Measured("test", 100, 20.0)) == looks_like(Measured("train", 100, 22.6)) == []


@pytest.mark.parametrize("name", ["rain200l", "test1200", "gt-rain", "rain1400"])
def test_a_known_part_is_recognised_under_any_name(name: str) -> None:
    with pytest.raises(DataError, match="it looks like Rain100L .*, even-numbered half of the test set.*name the right"):
        recognise(benchmark(name), [Measured("test", 50, 27.38, 3.0)], partial=True)
