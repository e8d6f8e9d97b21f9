"""The registry of rain benchmarks, and how a local copy is recognised by its counts and figures.

A copy is recognised by the number of pairs in each split and by their fingerprint, the mean PSNR of the rainy lumas. The
fingerprint differs by decibels between benchmarks and does not depend on the encoding of a lossless copy.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rdmc.datasets.benchmarks.facts import Benchmark, Copy
from rdmc.datasets.benchmarks.rain13k import RAIN13K
from rdmc.datasets.benchmarks.real import REAL
from rdmc.datasets.benchmarks.synthetic import SYNTHETIC
from rdmc.errors import ConfigError, DataError

BENCHMARKS: Mapping[str, Benchmark] = {entry.name: entry for entry in (*SYNTHETIC, *RAIN13K, *REAL)}
CLOSE = 0.05
"""Largest difference in dB of a measured and a published fingerprint; the latter has two decimals and other rounding."""
SIGMAS = 4.0
"""Largest difference between the mean of a part and that of the whole, in standard errors."""


@dataclass(frozen=True)
class Measured:
    """A split of a local copy: number of pairs, mean of their rainy PSNR-Y in dB, and standard deviation over pairs."""

    split: str
    pairs: int
    psnr_y: float
    deviation: float = 0.0

    def __str__(self) -> str:
        return f"{self.split} has {self.pairs} pairs, input {self.psnr_y:.2f} dB"


def benchmark(name: str) -> Benchmark:
    """Return the entry of ``name``. Raises ConfigError that lists the nearest names."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    near = difflib.get_close_matches(name.lower(), BENCHMARKS, 3, 0.5) or BENCHMARKS
    raise ConfigError(f"{name!r}: no such benchmark ({', '.join(near)}); `python -m pipeline datasets` lists them all")


def known_copies(found: Measured) -> list[tuple[Benchmark, Copy]]:
    """Return the copies with exactly this count and this figure, each with its benchmark."""
    return [
        (entry, copy)
        for entry in BENCHMARKS.values()
        for copy in entry.copies
        if copy.pairs.get(found.split) == found.pairs and _near(copy, found)
    ]


def looks_like(found: Measured) -> list[str]:
    """Return the copies with exactly this count and this figure, in words."""
    return [f"{entry.title}, {copy.what}" for entry, copy in known_copies(found)]


def recognise(entry: Benchmark, copy_at_hand: Sequence[Measured], partial: bool) -> list[str]:
    """Return what is known about a local copy of ``entry``, one line per split.

    Raises DataError if the count or the fingerprint of a split differs from those of every known copy, or if it is a part
    and ``partial`` is not set.
    """
    return [_recognise(entry, found, partial) for found in copy_at_hand] + _absent(entry, copy_at_hand)


def _recognise(entry: Benchmark, found: Measured, partial: bool) -> str:
    known = [copy for copy in entry.copies if found.split in copy.pairs]
    counted = [copy for copy in known if copy.pairs[found.split] == found.pairs]
    fitting = [copy for copy in counted if _near(copy, found) is not False]
    if not counted and (partial or not known) and (other := _other(found)):
        raise DataError(f"{entry.name}: {found}{other}, which is another dataset; name the right benchmark in params.yaml")
    if not known:
        return f"{entry.name}: {found}; no count is published for this split, so it cannot be verified"
    if fitting and (fitting[0].whole or partial):
        figure = "as known" if found.split in fitting[0].psnr_y else "no figure is published for it"
        return f"{entry.name}: this looks like {entry.title}, {fitting[0].what}: {found}, {figure}"
    if fitting:
        raise DataError(
            f"{entry.name}: {found}: {fitting[0].what}, figures on it cannot be compared; {_or_partial(known[0], found)}"
        )
    if counted:
        figures = " or ".join(f"{copy.psnr_y[found.split]:.2f}" for copy in counted)
        raise DataError(f"{entry.name}: {found}, the known copies have {figures} dB{_other(found)}; fetch it from {entry.home}")
    if partial and found.pairs < max(copy.pairs[found.split] for copy in known):
        return _part(entry, known[0], found)
    counts = " or ".join(str(copy.pairs[found.split]) for copy in known if copy.whole)
    raise DataError(f"{entry.name}: {found}, the rule is {counts}{_other(found)}; {_or_partial(known[0], found)}")


def _part(entry: Benchmark, whole: Copy, found: Measured) -> str:
    """Return a line about a part. Its mean must be near that of the whole, else DataError is raised."""
    of = f"{entry.name}: a part of {whole.pairs[found.split]}: {found}"
    expected = whole.psnr_y.get(found.split)
    if expected is None:
        return f"{of}; no figure is published for the whole"
    error = max(found.deviation / math.sqrt(found.pairs), CLOSE)
    if abs(found.psnr_y - expected) > SIGMAS * error:
        raise DataError(
            f"{of}, too far from the whole's {expected:.2f} dB to be drawn from it{_other(found)}; fetch it from {entry.home}"
        )
    return f"{of}, the whole has {expected:.2f} dB; figures on a part cannot be compared with any paper"


def _near(copy: Copy, found: Measured) -> bool | None:
    """Return whether the fingerprints are the same; None if none is known."""
    expected = copy.psnr_y.get(found.split)
    return None if expected is None else abs(expected - found.psnr_y) <= CLOSE


def _other(found: Measured) -> str:
    names = looks_like(found)
    return f"; it looks like {' or '.join(names)}" if names else ""


def _or_partial(whole: Copy, found: Measured) -> str:
    if found.pairs < whole.pairs[found.split]:
        return "add the others, or set `partial: true` in params.yaml"
    return "remove what does not belong to it, or name the right benchmark"


def _absent(entry: Benchmark, copy_at_hand: Sequence[Measured]) -> list[str]:
    expected = dict(entry.copies[0].pairs) if entry.copies else {}
    here = {found.split for found in copy_at_hand}
    return [f"{entry.name}: no {split} pairs here, the whole has {expected[split]}" for split in expected if split not in here]
