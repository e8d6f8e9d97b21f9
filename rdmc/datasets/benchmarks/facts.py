"""Types for the facts about a rain benchmark. Every fact names its source. An unknown fact is None or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rdmc.datasets.layouts import Hints

PLAIN = Hints()
MEASURED = "measured by this project on the files as published"


@dataclass(frozen=True)
class Copy:
    """A copy in circulation: the whole benchmark, another version of it, or a known part."""

    what: str
    pairs: Mapping[str, int]
    """Number of pairs by split."""
    source: str
    """Source of the counts."""
    psnr_y: Mapping[str, float] = field(default_factory=dict)
    """The fingerprint by split: mean PSNR in dB of the rainy lumas. An absent split has no known figure."""
    psnr_source: str = ""
    whole: bool = True
    """False: only a part of the benchmark. Figures on it cannot be compared with any paper."""


@dataclass(frozen=True)
class PublishedResult:
    """A published figure: PSNR in dB and SSIM of a method's output on the test split."""

    method: str
    psnr: float
    ssim: float | None
    convention: str
    source: str
    training: str = ""
    """What the method was trained on; empty if the source does not say."""


@dataclass(frozen=True)
class Note:
    """A defect of a benchmark, or other advice about it, with its source."""

    text: str
    source: str


@dataclass(frozen=True)
class Benchmark:
    """A rain dataset and the known facts about it."""

    name: str
    """The value of ``datasets.<key>.name`` in params.yaml."""
    title: str
    """Its name in papers, with other names in use."""
    kind: str
    """synthetic, real, or unpaired (real, without ground truth)."""
    home: str
    paper: str
    licence: str
    """The licence stated on its home page, or none stated. This entry grants no right that the home page does not."""
    licence_source: str
    layouts: Sequence[str]
    """Layouts of the copies in use. Those of rdmc/datasets/layouts.py are detected automatically."""
    split: str
    """What the field trains on and tests on."""
    copies: Sequence[Copy] = ()
    notes: Sequence[Note] = ()
    results: Sequence[PublishedResult] = ()
    hints: Hints = PLAIN
