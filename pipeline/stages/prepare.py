"""``prepare``: make checked pairs by split, an index and a report of the checks, from photographs and rain or from files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
import numpy as np
import PIL

from pipeline.config.data import Dataset, Embedded, Folders, PairFolders, Prepare, Published, SideBySide
from pipeline.console import say, table, track
from rdmc.data.journal import PieceJournal, library_digest
from rdmc.data.pairs import (
    SPLITS,
    Fault,
    Findings,
    PairEntry,
    move_pair,
    remove_pair,
    validation_scenes,
    write_index,
    write_quarantine,
)
from rdmc.data.partial import intact, partial_folder, remove_strays
from rdmc.datasets.benchmarks.registry import benchmark, recognise
from rdmc.datasets.checks import Made
from rdmc.datasets.embedded import Shower, showers
from rdmc.datasets.layouts import find_pairs
from rdmc.datasets.matching import Match, find, match_files, match_halves, no_match
from rdmc.datasets.review import check_share, check_sides, findings, lacking, measured, repeated
from rdmc.errors import DataError
from rdmc.files import file_digest

SHOWN = 20
"""The most rows in the tables of bad and odd pairs; quarantine.json has all."""
CHUNK = 4
"""Pairs that a process gets at a time."""
CODE = ("data", "datasets", "metrics.py")
"""The modules of ``rdmc`` that a pair's bytes and its checks depend on, besides this module."""
VERSIONS = [cv2.__version__, np.__version__, PIL.__version__]
"""Of the libraries that render, encode and check."""


@dataclass(frozen=True)
class Plan:
    """The pairs to make, the files without a partner, and a description of the layout where it was detected."""

    jobs: Sequence[Shower | Match]
    faults: Sequence[Fault] = ()
    layout: str = ""
    notes: Sequence[str] = ()
    """Lines about the files that a user should read."""


@dataclass(frozen=True)
class Settled:
    """The pairs that are kept, the faults of those set aside, and the other findings of the checks."""

    entries: Sequence[PairEntry]
    faults: Sequence[Fault]
    found: Findings

    @property
    def examined(self) -> int:
        """The number of examined pairs and single files."""
        return len(self.entries) + len(self.faults)


def run(name: str, dataset: Dataset, rules: Prepare, seed: int, out: Path, processes: int | None = None) -> None:
    """Write the pairs of ``dataset`` to ``out``. The folder appears only when all pairs are written and checked.

    A killed or interrupted ``prepare`` goes on where it stopped (``rdmc.data.partial``).

    The bytes do not depend on the number of ``processes`` (default: one per core). Raises DataError where images are
    missing, more pairs are bad than ``rules`` allow, rainy and clean are exchanged, or the files are not those of the named
    benchmark. An older ``out`` then stays unchanged, and the report of the checks is next to it. Raises ConfigError for an
    unknown benchmark.
    """
    planned = plan(dataset, seed)
    if planned.layout:
        say(f"{name}: found {planned.layout}")
    for line in planned.notes:
        say(line)
    code = [library_digest(*CODE), file_digest(Path(__file__)), VERSIONS]
    depends = [code, dataset.model_dump(mode="json"), rules.model_dump(mode="json"), seed]
    with partial_folder(out, depends) as (folder, journal):
        made = _make_all(name, planned.jobs, folder, journal, rules, processes or os.cpu_count() or 1)
        kept = _settle(folder, dataset, planned, made)
        found = _judge(name, dataset, made, kept, rules, _report(out))
        entries = kept.entries
        if not isinstance(dataset, Embedded) and all(pair.split != "validation" for pair in made):
            entries = hold_out(folder, entries, dataset.validation_share, seed)
        remove_strays(folder, entries)
        write_index(folder, name, entries, kept.examined, kept.faults, found)
    _report(out).unlink(missing_ok=True)
    table(f"{name}: pairs", ["split", "pairs", "scenes"], _summary(entries))
    if not isinstance(dataset, Embedded):
        _say_unvalidated(name, entries, dataset.validation_share)
        say(f"{name}: after a change to these files, run `dvc repro -f prepare@{name}`")


def plan(dataset: Dataset, seed: int) -> Plan:
    """The pairs to make, and the files without a partner. Raises DataError where images are missing or in two splits."""
    if isinstance(dataset, Embedded):
        return Plan(showers(dataset.rain, dataset.variants, seed))
    planned = _plan_benchmark(dataset) if isinstance(dataset, Published) else _plan_folders(dataset)
    splits: dict[Path, str] = {}
    for match in (job for job in planned.jobs if isinstance(job, Match)):
        for path in (match.rainy, match.clean):
            first = splits.setdefault(path.resolve(), match.split)
            if first != match.split:
                raise DataError(f"{path}: is in {first} and {match.split}, the rule is one split; narrow a glob in params.yaml")
    return planned


def hold_out(folder: Path, entries: Sequence[PairEntry], share: float, seed: int) -> list[PairEntry]:
    """Move a ``share`` (0 to 1) of the training scenes, chosen by ``seed``, to validation; return all entries."""
    chosen = validation_scenes((entry.scene for entry in entries if entry.split == "train"), share, seed)
    return [move_pair(folder, entry, "validation") if entry.scene in chosen else entry for entry in entries]


def _plan_folders(dataset: Folders) -> Plan:
    matches: list[Match] = []
    faults: list[Fault] = []
    for split, source in zip(SPLITS, (dataset.train, dataset.validation, dataset.test), strict=True):
        if source is not None:
            found, alone = _match(split, source)
            matches += found
            faults += alone
    return Plan(matches, faults)


def _plan_benchmark(dataset: Published) -> Plan:
    entry, root = benchmark(dataset.name), Path(dataset.path)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; unpack a copy there with `python -m pipeline fetch SOURCE {root}`")
    found = find_pairs(root, replace(entry.hints, split=dataset.split) if dataset.split else entry.hints)
    if not found.matches:
        raise DataError(f"{root}: {found.layout}, training and measuring need pairs; use `python -m pipeline unpaired {root}`")
    single = lacking(dataset.name, found.counts(), entry.copies[0].pairs if entry.copies else None)
    return Plan(found.matches, found.faults, str(found), [*found.notes, *single])


def _match(split: str, source: PairFolders | SideBySide) -> tuple[list[Match], list[Fault]]:
    if isinstance(source, SideBySide):
        return match_halves(split, find(source.images), source.left), []
    rainy, clean = find(source.rainy), find(source.clean)
    matches, faults = match_files(split, rainy, clean)
    if not matches:
        raise no_match(f"datasets, {split}", rainy, clean)
    return matches, faults


def _say_unvalidated(name: str, entries: Sequence[PairEntry], share: float) -> None:
    """Say that there are training pairs and no validation pairs, and why."""
    scenes = {entry.scene for entry in entries if entry.split == "train"}
    if scenes and share and all(entry.split != "validation" for entry in entries):
        say(
            f"{name}: no validation pairs, because all training pairs show {len(scenes)} scene; unless another dataset has "
            "some, training cannot choose its best step: add scenes, or name a validation split"
        )


def _make_all(
    name: str, jobs: Sequence[Shower | Match], folder: Path, journal: PieceJournal, rules: Prepare, processes: int
) -> list[Made]:
    """Make the pairs, in the order of ``jobs``, in spawned processes (threads do not survive a fork).

    Those that the journal knows, and whose files are as it says, are not made again.
    """
    known = {row["job"]: row for row in journal.rows.values()}
    tasks = [(job, known.get(repr(job))) for job in jobs]
    make, workers = partial(_make, folder=folder, rules=rules), min(processes, len(jobs))
    made: list[Made] = []
    begun = number = max(journal.rows, default=-1) + 1
    with ExitStack() as stack:
        results: Iterable[tuple[Made, str]] = map(make, tasks)
        if workers > 1:
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
            stack.callback(pool.shutdown, cancel_futures=True)  # after an error, nothing more is begun
            results = pool.map(make, tasks, chunksize=CHUNK)
        for job, (one, source) in zip(jobs, track(results, f"{name}: pairs", len(jobs)), strict=True):
            made.append(one)
            if source:
                journal.add(number, {"job": repr(job), "source": source, "made": one.to_plain()})
                del journal.rows[number]  # there may be a million
                number += 1
    if (again := len(jobs) - (number - begun)) > 0:
        say(f"{name}: {again} of {len(jobs)} pairs were finished before this command was stopped")
    return made


def _make(task: tuple[Shower | Match, Mapping[str, Any] | None], folder: Path, rules: Prepare) -> tuple[Made, str]:
    """Return what became of a pair, and a digest of what it was made from; an empty one if it was made before."""
    job, known = task
    source = job.source()
    if known and known["source"] == source:
        before = Made.from_plain(known["made"])
        if before.entry is None or intact(folder, before.entry):
            return before, ""
    if isinstance(job, Match):
        return job.make(folder, rules.judge_sides, rules.convert), source
    entry = job.make(folder)
    return Made(entry, split=entry.split), source


def _begin() -> None:
    """Let this process use one core, and end when the one that started it is killed, so that it writes no more."""
    cv2.setNumThreads(1)
    parent = parent_process()

    def wait() -> None:
        if parent:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


def _settle(folder: Path, dataset: Dataset, planned: Plan, made: Sequence[Made]) -> Settled:
    """Decide which pairs are kept, set aside or only shown. Pairs that repeat another one are deleted.

    Repeated pairs in a benchmark's test split stay, because published figures count them.
    """
    entries: list[PairEntry] = []
    faults = [*planned.faults, *(pair.fault for pair in made if pair.fault)]
    warnings = [pair.warning for pair in made if pair.warning]
    again = repeated(made)
    for place, pair in enumerate(made):
        job, fault = planned.jobs[place], again.get(place)
        named = replace(fault, file=str(job.rainy)) if fault and isinstance(job, Match) else fault
        if pair.entry and named and not (isinstance(dataset, Published) and pair.split == "test"):
            remove_pair(folder, pair.entry)
            faults.append(named)
        elif pair.entry:
            entries.append(pair.entry)
            warnings += [named] if named else []
    return Settled(entries, faults, findings(made, entries, warnings, planned.layout))


def _report(out: Path) -> Path:
    """The report of a refused dataset; the report of an accepted dataset is inside ``out``."""
    return out.with_name(f"{out.name}.quarantine.json")


def _judge(name: str, dataset: Dataset, made: Sequence[Made], kept: Settled, rules: Prepare, report: Path) -> Findings:
    """Show bad and odd pairs and return the findings, with what the dataset looks like.

    Raises DataError for a dataset that cannot be used, and writes its ``report``.
    """
    _show(f"{name}: set aside {len(kept.faults)} of {kept.examined}", kept.faults)
    _show_converted(name, kept.found.converted)
    _show(f"{name}: kept, but worth a look, {len(kept.found.warnings)} of {kept.examined}", kept.found.warnings)
    recognised: list[str] = []
    try:
        if rules.judge_sides:
            check_sides(name, made)
        # repeated pairs are part of a published benchmark: its figures, checked next, count them
        bad = [fault for fault in kept.faults if fault.kind != "duplicate" or not isinstance(dataset, Published)]
        check_share(name, bad, kept.examined, rules.max_quarantined, report)
        if isinstance(dataset, Published):
            recognised = recognise(benchmark(dataset.name), measured(made), dataset.partial)
    except DataError:
        write_quarantine(report, kept.examined, kept.faults, kept.found)
        raise
    for line in recognised:
        say(line)
    return replace(kept.found, said=recognised)


def _show(title: str, faults: Sequence[Fault]) -> None:
    if faults:
        more = f", the first {SHOWN} of them" if len(faults) > SHOWN else ""
        table(
            f"{title}{more}", ["file", "kind", "reason"], [[fault.file, fault.kind, fault.reason] for fault in faults[:SHOWN]]
        )


def _show_converted(name: str, converted: Sequence[Fault]) -> None:
    kinds = Counter(fault.reason.removeprefix("was ") for fault in converted)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    _show(f"{name}: converted {len(converted)} files to 8-bit RGB ({counts})", converted)


def _summary(entries: Sequence[PairEntry]) -> list[list[str]]:
    by_split = {split: [entry for entry in entries if entry.split == split] for split in SPLITS}
    return [[split, str(len(found)), str(len({entry.scene for entry in found}))] for split, found in by_split.items()]
