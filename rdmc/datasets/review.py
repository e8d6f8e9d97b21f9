"""Review a dataset from the checks of its pairs: repeated pairs, figures by split, and whether it may be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev

from rdmc.data.pairs import SPLITS, Fault, Findings, PairEntry
from rdmc.datasets.benchmarks.registry import Measured
from rdmc.datasets.checks import Made
from rdmc.errors import DataError

EXCHANGED = 0.3
"""If a larger share looks exchanged, all are. In exchanged benchmarks 54 to 90 % do, else none of 903 pairs."""
FEW = 4
"""Fewer pairs than this say nothing about the whole dataset."""


def repeated(made: Sequence[Made]) -> dict[int, Fault]:
    """Return faults, by place in ``made``, of pairs whose rainy pixels repeat. A test pair stays, a training pair goes."""
    first: dict[str, Made] = {}
    found: dict[int, Fault] = {}
    order = sorted(range(len(made)), key=lambda place: SPLITS.index(made[place].split), reverse=True)
    for place in order:
        pair = made[place]
        if pair.entry is None or not pair.digest:
            continue
        before = first.setdefault(pair.digest, pair)
        if before is not pair and before.entry:
            reason = f"has the same rainy pixels as {before.split} pair {before.entry.name}; remove one of them"
            found[place] = Fault(pair.entry.rainy, reason, "duplicate")
    return found


def measured(made: Sequence[Made]) -> list[Measured]:
    """Return the number and PSNR of readable pairs by split. Pairs set aside count too: a copy's fingerprint includes them."""
    found = []
    for split in SPLITS:
        figures = [pair.psnr_y for pair in made if pair.split == split and pair.psnr_y is not None]
        if figures:
            found.append(Measured(split, len(figures), fmean(figures), pstdev(figures)))
    return found


def findings(made: Sequence[Made], entries: Sequence[PairEntry], warnings: Sequence[Fault], layout: str) -> Findings:
    """Return the findings for the report, beside the faults."""
    kept = Counter(entry.split for entry in entries)
    figures = {found.split: found for found in measured(made)}
    splits = {
        split: {
            "read": figures[split].pairs if split in figures else kept[split],
            "kept": kept[split],
            "psnr_y": round(figures[split].psnr_y, 4) if split in figures else None,
        }
        for split in SPLITS
        if kept[split] or split in figures
    }
    used = set(entries)
    converted = dict.fromkeys(file for pair in made if pair.entry in used for file in pair.converted)  # one clean, many rainy
    return Findings(warnings, splits, layout, converted=list(converted))


def lacking(name: str, counts: Mapping[str, int], known: Mapping[str, int] | None) -> list[str]:
    """Return a line if all pairs are of one split, unless ``known`` (the pairs by split of a copy) has no other."""
    present = [split for split, count in counts.items() if count]
    if len(present) != 1 or (known and set(known) <= set(present)):
        return []
    others = " and ".join(split for split in SPLITS if split not in present and (split != "validation" or present != ["train"]))
    return [f"{name}: all {counts[present[0]]} pairs are {present[0]}, none is {others}; folders named train or test decide"]


def check_sides(name: str, made: Sequence[Made]) -> None:
    """Raise DataError if so many pairs look exchanged that all of them must be."""
    looked = [pair for pair in made if pair.psnr_y is not None]
    odd = [pair for pair in looked for fault in (pair.fault, pair.warning) if fault and fault.kind == "swapped"]
    if len(looked) >= FEW and len(odd) > EXCHANGED * len(looked):
        raise DataError(
            f"{name}: in {len(odd)} of {len(looked)} pairs the clean picture has the rain, the rule is that each is "
            "what it is named; exchange the globs or `left`, or set prepare.judge_sides: false for drops on glass"
        )


def check_share(name: str, faults: Sequence[Fault], examined: int, limit: float, report: Path) -> None:
    """Raise DataError if more than the share ``limit`` of the ``examined`` pairs is bad, or all of them."""
    if len(faults) > limit * examined or len(faults) == examined:
        first = f"{faults[0].file} {faults[0].reason}"
        raise DataError(
            f"{name}: {len(faults)} of {examined} pairs are bad, the rule is at most {limit:.0%} and not all "
            f"(first: {first}); fix those in {report} or raise prepare.max_quarantined in params.yaml"
        )
