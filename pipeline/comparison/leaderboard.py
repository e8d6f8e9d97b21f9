"""What a comparison found: for each dataset a row for each model, the best first, and the published figures beside them.

How the figures are made from the images:

- An output that equals its clean image has an infinite PSNR. It is counted as identical, and is in no mean PSNR.
- An image for which a model has no output that can be measured is counted as failed, and is in no mean of that model.
- Each other image counts once, whatever its size.
- LPIPS and DISTS, where they are measured, are means over the images that have them: those with sides of 32 pixels or more.
- Intervals are two-sided, by a bootstrap over scenes (``pipeline.evaluation.bootstrap``). The difference to the first model is
  over the images where both have a finite PSNR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.comparison.entrants import Entrant
from pipeline.comparison.measure import Outcome
from pipeline.comparison.sets import PairSet
from pipeline.evaluation.bootstrap import Floats, Interval, shown_interval
from rdmc.datasets.benchmarks.facts import PublishedResult
from rdmc.quality.conventions import NAMES, MeanFidelity, mean

"""Of the intervals."""
FIRST = NAMES[0]
"""The convention that ranks the models."""


@dataclass(frozen=True)
class PerceptualMean:
    """The mean of one perceptual measure; lower is better."""

    images: int
    mean: Interval
    to_first: Interval | None
    """The mean minus that of the first model on the same images; None for the first model."""


@dataclass(frozen=True)
class Standing:
    """One model on one dataset."""

    label: str
    means: Mapping[str, MeanFidelity]
    """By convention, over the images that did not fail; empty if all did."""
    psnr: Mapping[str, Interval]
    """The interval of the mean PSNR (dB) by convention, where there is one."""
    to_first: Mapping[str, Interval]
    """The mean PSNR (dB) minus that of the first model on the same images, by convention; empty for the first model."""
    seconds: float | None
    """Median time to derain an image; None for what was not derained here."""
    failures: Mapping[str, str]
    """Image -> why it has no figures."""
    outcomes: Sequence[Outcome]
    perceptual: Mapping[str, PerceptualMean] = field(default_factory=dict)
    """By the name of the measure."""

    @property
    def rank(self) -> float:
        """The mean PSNR that ranks it, in dB."""
        found = self.means.get(FIRST)
        return found.psnr if found else -math.inf


@dataclass(frozen=True)
class Board:
    """The models on one dataset, the best first."""

    data: PairSet
    images: tuple[str, ...]
    scenes: int
    standings: tuple[Standing, ...]

    @property
    def published(self) -> Sequence[PublishedResult]:
        """The published figures of the benchmark, if it is one and these are test pairs."""
        return self.data.entry.results if self.data.entry and self.data.split == "test" else ()


def board(data: PairSet, models: Sequence[Entrant], found: Mapping[str, Sequence[Outcome]]) -> Board:
    """Make the board of a dataset from the result of each model on every pair."""
    labels = data.pairs.labels()
    names = tuple(key.partition("/")[2] for key, _ in labels)
    scenes = [scene for _, scene in labels]
    first = found[models[0].label]
    standings = [_standing(model, found[model.label], first, names, scenes, model is models[0]) for model in models]
    ranked = sorted(standings, key=lambda standing: -standing.rank)
    return Board(data, names, len(set(scenes)), tuple(ranked))


def _standing(
    model: Entrant, found: Sequence[Outcome], first: Sequence[Outcome], names: Sequence[str], scenes: Sequence[str], own: bool
) -> Standing:
    good = [outcome for outcome in found if not outcome.failed]
    means, psnr, to_first = {}, {}, {}
    for name in NAMES if good else ():
        means[name] = mean(outcome.figures[name] for outcome in good)
        values = _psnr(found, name)
        if measured := _interval(values, np.zeros(len(values)), scenes):
            psnr[name] = measured
        if not own and (difference := _interval(values, _psnr(first, name), scenes)):
            to_first[name] = difference
    seconds = float(np.median([outcome.seconds for outcome in good])) if good and model.network else None
    failures = {name: outcome.failed for name, outcome in zip(names, found, strict=True) if outcome.failed}
    seen = {name: _perceptual(name, found, None if own else first, scenes) for name in _measures(good)}
    perceptual = {name: one for name, one in seen.items() if one}
    return Standing(model.label, means, psnr, to_first, seconds, failures, found, perceptual)


def _measures(found: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(name for outcome in found for name in outcome.perceptual))


def _perceptual(
    name: str, found: Sequence[Outcome], first: Sequence[Outcome] | None, scenes: Sequence[str]
) -> PerceptualMean | None:
    values = np.array([outcome.perceptual.get(name, math.nan) for outcome in found])
    mean_of = _interval(values, np.zeros(len(values)), scenes)
    others = None if first is None else np.array([outcome.perceptual.get(name, math.nan) for outcome in first])
    to_first = None if others is None else _interval(values, others, scenes)
    return PerceptualMean(int(np.isfinite(values).sum()), mean_of, to_first) if mean_of else None


def _psnr(found: Sequence[Outcome], name: str) -> Floats:
    return np.array([math.nan if outcome.failed else outcome.figures[name].psnr for outcome in found])


def _interval(
    new: Floats,
    old: Floats,
    scenes: Sequence[str],
) -> Interval | None:
    """The interval over the images where both are finite; None if there is no such image."""
    finite = [int(at) for at in np.flatnonzero(np.isfinite(new) & np.isfinite(old))]
    if not finite:
        return None
    return shown_interval(new[finite], old[finite], [scenes[at] for at in finite])
