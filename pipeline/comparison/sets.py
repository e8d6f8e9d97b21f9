"""The images that models are compared on: the packed test pairs of a dataset in params.yaml, or a folder of pairs.

A folder is searched as ``prepare`` searches a benchmark, and what cannot be used is set aside with a reason. The test pairs
are taken, or all pairs if no folder's name says that they are for testing. A known benchmark is recognised by the number of
its pairs and the mean PSNR-Y of its rainy images.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.config.data import Published
from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import track
from pipeline.evaluation.evaluator import CACHE_MB
from pipeline.storage.datasets import open_pairs
from rdmc.data.images import pixels_digest
from rdmc.data.loader import Pair
from rdmc.data.pairs import Fault, check_sizes, clean_name, sha256
from rdmc.datasets.benchmarks.facts import Benchmark, Copy
from rdmc.datasets.benchmarks.registry import Measured, benchmark, known_copies
from rdmc.datasets.layouts import Hints, find_pairs
from rdmc.datasets.matching import Match
from rdmc.errors import ConfigError, DataError
from rdmc.metrics import psnr_y


class PairSource(Protocol):
    """Pairs by position: a ``PairStore``, or the pairs of a folder."""

    digest: str
    """SHA-256 (hex) that determines the pixels."""

    def __len__(self) -> int:
        """The number of pairs."""

    def __getitem__(self, index: int) -> Pair:
        """The pair at a position, decoded."""

    def labels(self) -> list[tuple[str, str]]:
        """Key (``dataset/name``) and scene of every pair, in order."""


@dataclass(frozen=True)
class PairSet:
    """The pairs of one dataset, and what is known about it."""

    name: str
    pairs: PairSource
    source: str
    """Where the pairs come from, in words."""
    entry: Benchmark | None = None
    """The benchmark that it is, or a part of."""
    copy: Copy | None = None
    """Which copy of it, if that was recognised."""
    faults: Sequence[Fault] = ()
    """What was set aside."""
    split: str = "test"
    """The split of the pairs. Figures are published on test pairs alone."""

    @property
    def whole(self) -> bool:
        """Whether it is known to be the whole benchmark, so that its figures compare with published ones."""
        return self.copy is not None and self.copy.whole


class FolderPairs:
    """The pairs of a folder, read when they are asked for. Each was read once before, so it can be read."""

    def __init__(self, name: str, matches: Sequence[Match], digest: str, scenes: Sequence[str]) -> None:
        self.digest, self._name, self._matches, self._scenes = digest, name, matches, scenes

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self._matches)

    def __getitem__(self, index: int) -> Pair:
        """The pair at a position, decoded. Raises DataError if a file has changed since."""
        rainy, clean = self._matches[index].read()
        return Pair(f"{self._name}/{self._matches[index].name}", self._name, rainy.pixels, clean.pixels)

    def labels(self) -> list[tuple[str, str]]:
        """Key (``dataset/name``) and scene of every pair, in order."""
        return [(f"{self._name}/{match.name}", scene) for match, scene in zip(self._matches, self._scenes, strict=True)]


def pair_sets(names: Sequence[str], project: Project[Params] | None, taken: Collection[str] = ()) -> list[PairSet]:
    """Open the datasets and folders that a user names, in order, each under a name of its own, which is not ``taken``.

    Raises ConfigError for a name that is neither, DataError for one without pairs that can be used.
    """
    if not names:
        raise ConfigError("no data is named; name a dataset of params.yaml or a folder of pairs: --data NAME_OR_FOLDER")
    found: list[PairSet] = []
    for name in dict.fromkeys(names):
        known = project.params.datasets if project else {}
        if project and name in known:
            found.append(_packed(project, name))
        elif Path(name).is_dir():
            found.append(_folder(Path(name), {other.name for other in found} | {*known, *taken}))
        else:
            there = f"a dataset of params.yaml ({', '.join(known)})" if known else "a dataset (there is no params.yaml here)"
            raise ConfigError(f"{name}: neither {there} nor a folder; name one of these")
    return found


def _packed(project: Project[Params], name: str) -> PairSet:
    pairs, rule = open_pairs(project, "test", [name], CACHE_MB, allow_empty=True), project.params.datasets[name]
    if not len(pairs):
        raise DataError(f"{name}: has no test pairs; give it a `test` in params.yaml, then `dvc repro pack`, or name a folder")
    entry = benchmark(rule.name) if isinstance(rule, Published) else None
    copy = None
    if entry and isinstance(rule, Published) and not rule.partial:  # prepare has compared its counts and figures
        copy = next((copy for copy in entry.copies if copy.pairs.get("test") == len(pairs)), None)
    return PairSet(name, pairs, f"the test pairs of the dataset {name} of params.yaml", entry, copy)


def _folder(root: Path, taken: set[str]) -> PairSet:
    """Read every pair of a folder once: for its faults, its digest, its scenes and its fingerprint."""
    matches, split, alone = _matches(root)
    faults, kept, lines, scenes, psnr = list(alone), [], [], [], []
    for match in track(matches, f"read {root}"):
        try:
            rainy, clean = match.read()
            check_sizes(rainy, clean)
        except DataError as error:
            faults.append(Fault(str(match.rainy), str(error).removeprefix(f"{match.rainy}: "), "unreadable"))
            continue
        kept.append(match)
        scenes.append(pixels_digest(clean.pixels))  # pairs with one clean image are not independent
        lines.append(f"{match.name} {pixels_digest(rainy.pixels)} {scenes[-1]}")
        psnr.append(psnr_y(rainy.pixels, clean.pixels))
    if not kept:
        first = f" (first: {faults[0].file}: {faults[0].reason})" if faults else ""
        raise DataError(f"{root}: no pair of {len(faults)} can be used{first}; fix the files or name another folder")
    spread = float(np.std(psnr, ddof=1)) if len(psnr) > 1 else math.inf
    known = known_copies(Measured(split, len(kept), float(np.mean(psnr)), spread))
    entry, copy = known[0] if known else (None, None)
    name = set_name(root, taken, entry.name if entry else "")
    pairs = FolderPairs(name, kept, sha256("\n".join(lines).encode()), scenes)
    return PairSet(name, pairs, f"{root}, {split} pairs", entry, copy, faults, split)


def _matches(root: Path) -> tuple[Sequence[Match], str, Sequence[Fault]]:
    """The test pairs of a folder, or all if none are marked so; their split; and the files without a partner."""
    found = find_pairs(root, Hints(split="test"))
    if not found.matches:
        raise DataError(f"{root}: {found.layout}, comparing needs pairs of rainy and clean pictures; name a folder of pairs")
    counts = found.counts()
    split = "test" if "test" in counts else max(counts, key=lambda one: counts[one])
    chosen = [match for match in found.matches if match.split == split] if "test" in counts else list(found.matches)
    return chosen, split, [fault for fault in found.faults if fault.kind == "unmatched"]


def set_name(root: Path, taken: Collection[str], known: str = "") -> str:
    """A short name that is not ``taken``: that of the ``known`` benchmark, else of the folder, else of those above it too."""
    parts = [clean_name(part) for part in root.resolve().parts[-3:]]
    longer = ["-".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    named = [known, f"{known}-{parts[-1]}"] if known else []
    free = [name for name in (*named, *longer) if name not in taken]
    return free[0] if free else f"{longer[-1]}-{len(taken)}"
