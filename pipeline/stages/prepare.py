"""``prepare``: photographs and rain, or somebody's own pairs -> checked pairs by split, an index and a quarantine report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from pipeline.console import say, table, track
from pipeline.datasets import Dataset, Embedded, Folders, PairFolders, Prepare, SideBySide
from rdmc.data.embedded import Shower, showers
from rdmc.data.matching import Match, find, match_files, match_halves
from rdmc.data.pairs import SPLITS, Entry, Fault, move_pair, validation_scenes, write_index, write_quarantine
from rdmc.errors import DataError
from rdmc.files import new_folder

SHOWN = 20
"""Rows of the quarantine table; quarantine.json has all."""
CHUNK = 4
"""Pairs handed to a process at once."""


def run(name: str, dataset: Dataset, rules: Prepare, seed: int, out: Path, processes: int | None = None) -> None:
    """Write the pairs of ``dataset`` to ``out``, which appears only once all of them are written and checked.

    The bytes do not depend on the number of ``processes`` (default: one per core). Raises DataError where images are
    missing or more pairs are bad than ``rules`` allow; what was in ``out`` before then stays, and the report of the bad ones
    lies beside it.
    """
    jobs, faults = plan(dataset, seed)
    with new_folder(out) as folder:
        made = list(track(_make_all(jobs, folder, processes or os.cpu_count() or 1), f"{name}: pairs", len(jobs)))
        entries = [pair for pair in made if isinstance(pair, Entry)]
        faults = faults + [pair for pair in made if isinstance(pair, Fault)]
        _judge(name, faults, len(entries) + len(faults), rules, _report(out))
        if isinstance(dataset, Folders) and dataset.validation is None:
            entries = hold_out(folder, entries, dataset.validation_share, seed)
        write_index(folder, name, entries, len(entries) + len(faults), faults)
    _report(out).unlink(missing_ok=True)
    table(f"{name}: pairs", ["split", "pairs", "scenes"], _summary(entries))
    if isinstance(dataset, Folders):
        say(f"{name}: files that change at the same globs are taken up by `dvc repro -f prepare@{name}`")


def plan(dataset: Dataset, seed: int) -> tuple[Sequence[Shower | Match], list[Fault]]:
    """What is to be made, and the files that have no partner. Raises DataError where images are missing."""
    if isinstance(dataset, Embedded):
        return showers(dataset.rain, dataset.variants, seed), []
    matches: list[Match] = []
    faults: list[Fault] = []
    for split, source in zip(SPLITS, (dataset.train, dataset.validation, dataset.test), strict=True):
        if source is not None:
            found, alone = _match(split, source)
            matches += found
            faults += alone
    seen: dict[Path, str] = {}
    for match in matches:
        for path in (match.rainy, match.clean):
            first = seen.setdefault(path.resolve(), match.split)
            if first != match.split:
                raise DataError(f"{path}: is in {first} and {match.split}, the rule is one split; narrow a glob in params.yaml")
    return matches, faults


def hold_out(folder: Path, entries: Sequence[Entry], share: float, seed: int) -> list[Entry]:
    """Move the ``share`` of the training scenes, chosen by ``seed``, to validation."""
    chosen = validation_scenes((entry.scene for entry in entries if entry.split == "train"), share, seed)
    return [move_pair(folder, entry, "validation") if entry.scene in chosen else entry for entry in entries]


def _match(split: str, source: PairFolders | SideBySide) -> tuple[list[Match], list[Fault]]:
    if isinstance(source, SideBySide):
        return match_halves(split, find(source.images), source.left), []
    return match_files(split, find(source.rainy), find(source.clean))


def _make_all(jobs: Sequence[Shower | Match], folder: Path, processes: int) -> Iterator[Entry | Fault]:
    """Make the pairs, in the order of ``jobs``, in processes that are started afresh (threads do not survive a fork)."""
    make = partial(_make, folder=folder)
    if min(processes, len(jobs)) < 2:
        yield from map(make, jobs)
        return
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(make, jobs, chunksize=CHUNK)


def _make(job: Shower | Match, folder: Path) -> Entry | Fault:
    return job.make(folder) if isinstance(job, Shower) else job.make_or_fault(folder)


def _report(out: Path) -> Path:
    """Where the quarantine report of a refused dataset stays; the one of an accepted dataset lies inside ``out``."""
    return out.with_name(f"{out.name}.quarantine.json")


def _judge(name: str, faults: Sequence[Fault], examined: int, rules: Prepare, report: Path) -> None:
    """Show what was set aside; refuse a dataset with too much of it, or with nothing else, and leave the ``report``."""
    if faults:
        rows = [[fault.file, fault.reason] for fault in faults[:SHOWN]]
        more = f", the first {SHOWN} of them" if len(faults) > SHOWN else ""
        table(f"{name}: set aside {len(faults)} of {examined}{more}", ["file", "reason"], rows)
    if len(faults) > rules.max_quarantined * examined or len(faults) == examined:
        write_quarantine(report, examined, faults)
        first = f"{faults[0].file} {faults[0].reason}"
        raise DataError(
            f"{name}: {len(faults)} of {examined} pairs are bad, the rule is at most {rules.max_quarantined:.0%} and not all "
            f"(first: {first}); mend those of {report} or raise prepare.max_quarantined in params.yaml"
        )


def _summary(entries: Sequence[Entry]) -> list[list[str]]:
    by_split = {split: [entry for entry in entries if entry.split == split] for split in SPLITS}
    return [[split, str(len(found)), str(len({entry.scene for entry in found}))] for split, found in by_split.items()]
