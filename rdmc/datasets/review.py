"""What the checks of single pairs come to for the dataset: repeated pairs, figures by split, and whether it may be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev

from rdmc.data.pairs import SPLITS, Fault, Findings, PairEntry
from rdmc.datasets.benchmarks.registry import Measured
from rdmc.datasets.checks import Made
from rdmc.errors import DataError

EXCHANGED = 0.3
"""Share of pairs that look exchanged above which all are: of exchanged benchmarks 54 to 90 % do, else none of 903 pairs."""
FEW = 4
"""Fewer pairs than this say nothing about all."""


def repeated(made: Sequence[Made]) -> dict[int, Fault]:
    """Places in ``made`` of pairs whose rainy pixels came before, test pairs first, so that a repeated one leaves training."""
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
    """Pairs that could be read and their PSNR, by split; those set aside count too, for a copy's fingerprint has them."""
    found = []
    for split in SPLITS:
        figures = [pair.psnr_y for pair in made if pair.split == split and pair.psnr_y is not None]
        if figures:
            found.append(Measured(split, len(figures), fmean(figures), pstdev(figures)))
    return found


def findings(made: Sequence[Made], entries: Sequence[PairEntry], warnings: Sequence[Fault], layout: str) -> Findings:
    """The report beside the faults."""
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
    return Findings(warnings, splits, layout)


def check_sides(name: str, made: Sequence[Made]) -> None:
    """Raise DataError where so many pairs look exchanged that all are."""
    looked = [pair for pair in made if pair.psnr_y is not None]
    odd = [pair for pair in looked for fault in (pair.fault, pair.warning) if fault and fault.kind == "swapped"]
    if len(looked) >= FEW and len(odd) > EXCHANGED * len(looked):
        raise DataError(
            f"{name}: in {len(odd)} of {len(looked)} pairs the clean picture has the rain, the rule is rainy and clean "
            "as they are named; exchange the globs or `left`, or set prepare.judge_sides: false for drops on glass"
        )


def check_share(name: str, faults: Sequence[Fault], examined: int, limit: float, report: Path) -> None:
    """Raise DataError where more than the share ``limit`` of what was ``examined`` is bad, or all of it."""
    if len(faults) > limit * examined or len(faults) == examined:
        first = f"{faults[0].file} {faults[0].reason}"
        raise DataError(
            f"{name}: {len(faults)} of {examined} pairs are bad, the rule is at most {limit:.0%} and not all "
            f"(first: {first}); mend those of {report} or raise prepare.max_quarantined in params.yaml"
        )
