"""The form of what is known of a rain benchmark. Every fact names its source; what is not known is None or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rdmc.datasets.layouts import Hints

PLAIN = Hints()
MEASURED = "measured by this project on the files as published"


@dataclass(frozen=True)
class Copy:
    """A copy that circulates: the whole benchmark, another version of it, or a known part."""

    what: str
    pairs: Mapping[str, int]
    """By split."""
    source: str
    """Of the counts."""
    psnr_y: Mapping[str, float] = field(default_factory=dict)
    """By split: mean PSNR in dB of the rainy lumas, the fingerprint. A split that is absent has no figure known."""
    psnr_source: str = ""
    whole: bool = True
    """False: only a part of the benchmark, figures on which compare with no paper."""


@dataclass(frozen=True)
class PublishedResult:
    """A published figure: PSNR in dB and SSIM of a method's output on the test split."""

    method: str
    psnr: float
    ssim: float | None
    convention: str
    source: str


@dataclass(frozen=True)
class Note:
    """A fault, or a thing to know, and who says so."""

    text: str
    source: str


@dataclass(frozen=True)
class Benchmark:
    """A rain dataset and what is known of it."""

    name: str
    """As in ``datasets.<key>.name`` of params.yaml."""
    title: str
    """As papers call it, with other names."""
    kind: str
    """synthetic, real, or unpaired (real, without ground truth)."""
    home: str
    paper: str
    licence: str
    """As its home states it, or none stated; nothing here gives a right that the home does not."""
    licence_source: str
    layouts: Sequence[str]
    """As met in the wild; those of rdmc/datasets/layouts.py are found by themselves."""
    split: str
    """What the field trains and tests on."""
    copies: Sequence[Copy] = ()
    notes: Sequence[Note] = ()
    results: Sequence[PublishedResult] = ()
    hints: Hints = PLAIN
