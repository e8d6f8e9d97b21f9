"""What the checks of single pairs come to for a dataset: repeated pairs, figures by split, and datasets that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rdmc.data.pairs import Fault, PairEntry
from rdmc.datasets.checks import Made
from rdmc.datasets.review import EXCHANGED, FEW, check_share, check_sides, findings, measured, repeated
from rdmc.errors import DataError


def good(split: str, name: str, psnr_y: float = 25.0, digest: str = "") -> Made:
    files = (f"{split}/{name}.rainy.png", f"{split}/{name}.clean.png")
    return Made(PairEntry(name, name, split, 20, 30, *files, "r", "c"), split=split, psnr_y=psnr_y, digest=digest or name)


def odd(kind: str, kept: bool = False) -> Made:
    fault = Fault("x.png", "odd", kind)
    if kept:
        return replace(good("train", "odd"), warning=fault)
    return Made(fault=fault, split="train", psnr_y=20.0)


UNREAD = Made(fault=Fault("bad.png", "zero bytes"), split="train")


def test_a_repeated_pair_leaves_training_before_validation_before_test() -> None:
    made = [
        good("train", "a", digest="same"),
        good("test", "b", digest="same"),
        good("train", "c"),
        good("validation", "d", digest="same"),
        good("train", "e", digest="other"),
        good("train", "f", digest="other"),
    ]
    found = repeated(made)
    assert {place: fault.file for place, fault in found.items()} == {
        0: "train/a.rainy.png",
        3: "validation/d.rainy.png",
        5: "train/f.rainy.png",
    }
    assert {fault.kind for fault in found.values()} == {"duplicate"}
    assert found[0].reason == "has the same rainy pixels as test pair b; remove one of them"
    assert found[5].reason == "has the same rainy pixels as train pair e; remove one of them"


def test_pairs_that_were_set_aside_repeat_nothing() -> None:
    aside = Made(fault=Fault("x.png", "odd", "swapped"), split="test", psnr_y=20.0, digest="same")
    assert repeated([aside, good("train", "a", digest="same"), replace(good("train", "b"), digest=""), UNREAD]) == {}


def test_figures_by_split_count_every_pair_that_could_be_read() -> None:
    made = [good("test", "a", 20.0), good("test", "b", 24.0), odd("swapped"), UNREAD]
    train, test = measured(made)
    assert (train.split, train.pairs, train.psnr_y, train.deviation) == ("train", 1, 20.0, 0.0)
    assert (test.split, test.pairs, test.psnr_y, test.deviation) == ("test", 2, 22.0, 2.0)
    assert measured([UNREAD]) == measured([]) == []


def test_findings_tell_pairs_read_from_pairs_kept() -> None:
    made = [good("train", "a", 20.00004), good("train", "b", 21.0), odd("misaligned"), replace(good("test", "c"), psnr_y=None)]
    entries = [pair.entry for pair in made if pair.entry]
    warning = Fault("a.png", "odd", "swapped")
    found = findings(made, entries, [warning], "folder: 3 pairs")
    assert found.splits == {
        "train": {"read": 3, "kept": 2, "psnr_y": 20.3333},
        "test": {"read": 1, "kept": 1, "psnr_y": None},
    }
    assert (found.warnings, found.layout) == ([warning], "folder: 3 pairs")


@pytest.mark.parametrize("kept", [True, False])
def test_a_dataset_whose_pairs_look_exchanged_is_refused(kept: bool) -> None:
    made = [odd("swapped", kept)] * 4 + [good("train", str(number)) for number in range(6)]
    with pytest.raises(
        DataError, match=r"^mine: in 4 of 10 pairs the clean picture has the rain, .*judge_sides: false"
    ) as error:
        check_sides("mine", [*made, UNREAD])
    assert "\n" not in str(error.value)


def test_a_few_odd_pairs_do_not_refuse_a_dataset() -> None:
    fine = [good("train", str(number)) for number in range(7)]
    assert EXCHANGED * 10 == 3
    check_sides("mine", [odd("swapped")] * 3 + fine)
    check_sides("mine", [odd("misaligned")] * 9 + fine)
    check_sides("mine", [odd("swapped")] * (FEW - 1))
    check_sides("mine", [])


def test_more_bad_pairs_than_allowed_are_refused_with_the_first(tmp_path: Path) -> None:
    faults = [Fault("b.png", "is grey"), Fault("c.png", "zero bytes")]
    check_share("mine", faults, 10, 0.2, tmp_path)
    check_share("mine", [], 10, 0.0, tmp_path)
    with pytest.raises(DataError, match=rf"^mine: 2 of 10 pairs are bad, the rule is at most 10% .*b\.png is grey.*{tmp_path}"):
        check_share("mine", faults, 10, 0.1, tmp_path)
    with pytest.raises(DataError, match="2 of 2 pairs are bad, the rule is at most 100% and not all"):
        check_share("mine", faults, 2, 1.0, tmp_path)
