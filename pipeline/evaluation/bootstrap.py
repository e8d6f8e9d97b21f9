"""Lower confidence bounds of paired differences, by a bootstrap over scenes.

The scenes are stratified by the datasets that show them. A scene is drawn with all its images in all datasets, because these
are not independent of one another. The bound of a mean is studentised (bootstrap-t): it keeps its level with few scenes, where
the percentile of the resampled means is too narrow (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12).
The bounds of the worst images and of the worst rain are the percentile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROOM = 4_000_000
"""Most numbers in one array; more resamples are computed in several steps."""
SMALL = 5
"""Strata with fewer scenes than this are drawn together, because a stratum of one scene would seem to have no spread."""
FEWEST = 8
"""Fewest scenes for a two-sided interval. With five, a few alike scenes make it tens of dB wide."""
CONFIDENCE, RESAMPLES, SEED = 0.95, 4000, 0
"""Of the intervals that reports, tables and cards show."""
TINY = 1e-12
"""A difference or standard error below this counts as zero."""


@dataclass(frozen=True)
class Bound:
    """A mean in dB and its lower bound, which is -inf if there are too few scenes for one."""

    mean: float
    low: float


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided interval, which is -inf to inf if there are too few scenes for one."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Bounds:
    """The bounds that the gate needs: over all images, by dataset, and over the worst images."""

    overall: Bound
    datasets: dict[str, Bound]
    worst: Bound


@dataclass(frozen=True)
class PairedSample:
    """The figures of two models on the same n images."""

    new: Floats
    old: Floats
    dataset: Ints
    """(n): the index of the image's dataset in ``names``."""
    unit: Ints
    """(n): the number of the image's scene, from 0."""
    names: tuple[str, ...]
    """Names of the datasets."""

    @classmethod
    def of(cls, datasets: Sequence[str], scenes: Sequence[str], new: Floats, old: Floats) -> PairedSample:
        """Make a sample from the name of the dataset and of the scene of each image."""
        names, dataset = np.unique(np.array(datasets), return_inverse=True)
        _, unit = np.unique(np.array(scenes), return_inverse=True)
        return cls(new, old, dataset, unit, tuple(str(name) for name in names))

    @property
    def units(self) -> int:
        """The number of scenes."""
        return int(self.unit.max()) + 1

    def units_of(self, name: str) -> int:
        """The number of scenes in a dataset."""
        return len(np.unique(self.unit[self.dataset == self.names.index(name)]))

    def strata(self) -> list[Ints]:
        """Groups of scenes that are shown by the same datasets.

        Small groups are merged. If only a single scene is left over, it joins the largest group.
        """
        shown = np.zeros((self.units, len(self.names)), bool)
        shown[self.unit, self.dataset] = True
        _, kind = np.unique(shown, axis=0, return_inverse=True)
        groups = [np.flatnonzero(kind.ravel() == number) for number in range(int(kind.max()) + 1)]
        large = sorted((group for group in groups if len(group) >= SMALL), key=len)
        rest = np.concatenate([*(group for group in groups if len(group) < SMALL), np.array([], np.int64)])
        if len(rest) == 1 and large:
            large[-1] = np.concatenate([large[-1], rest])
        elif len(rest):
            large.append(rest)
        return large


def bounds(sample: PairedSample, share: float, confidence: float, resamples: int, seed: int) -> Bounds:
    """Lower bounds of new minus old: over all images, by dataset, and over each model's worst ``share`` of each dataset.

    Args:
        sample: the figures of both models.
        share: 0 to 1, the share of each dataset's images that count as its worst.
        confidence: 0 to 1, the level of the bounds, for example 0.95.
        resamples: how many bootstrap resamples to draw.
        seed: of the random numbers; the same seed gives the same bounds.
    """
    strata = sample.strata()
    groups = [np.ones(len(sample.new), bool), *(sample.dataset == number for number in range(len(sample.names)))]
    ratios = [_Ratio.of(sample, group, strata) for group in groups]
    tails = [_Tail.of(scores, sample, share) for scores in (sample.new, sample.old)]
    t: list[list[Floats]] = [[] for _ in ratios]
    worst = []
    for draw in _draws(sample, strata, resamples, seed):
        for values, ratio in zip(t, ratios, strict=True):
            values.append(ratio.studentised(draw))
        worst.append(tails[0].mean(draw) - tails[1].mean(draw))
    once = np.ones((1, sample.units))
    means = [_lower(ratio, np.concatenate(values), confidence) for ratio, values in zip(ratios, t, strict=True)]
    tail = float((tails[0].mean(once) - tails[1].mean(once))[0])
    low = float(np.quantile(np.concatenate(worst), 1 - confidence, method="lower"))
    return Bounds(means[0], dict(zip(sample.names, means[1:], strict=True)), Bound(tail, low))


def lowest(values: Floats, confidence: float, resamples: int, seed: int) -> tuple[int, Bound]:
    """The row with the lowest mean of (rows, units), and the lower bound of the lowest mean of all rows.

    The units are resampled, each with its values in every row. The bound is the percentile: with eight units, a studentised one
    of so many rows would be tens of dB too low. Other arguments are as for ``bounds``.
    """
    units = values.shape[1]
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples) / units
    means = values.mean(1)
    row = int(means.argmin())
    low = float(np.quantile((draws @ values.T).min(1), 1 - confidence, method="lower"))
    return row, Bound(float(means[row]), low)


def interval(sample: PairedSample, confidence: float, resamples: int, seed: int) -> Interval:
    """The mean of new minus old over all images, and the interval that holds it with this confidence (0 to 1).

    For the mean of one model, ``old`` is zero everywhere. Arguments are as for ``bounds``.
    """
    strata, once = sample.strata(), np.ones((1, sample.units))
    ratio = _Ratio.of(sample, np.ones(len(sample.new), bool), strata)
    t = np.concatenate([ratio.studentised(draw) for draw in _draws(sample, strata, resamples, seed)])
    mean, error = (float(values[0]) for values in ratio.estimate(once))
    if sample.units < FEWEST:
        return Interval(mean, -np.inf, np.inf)
    if error < TINY:
        return Interval(mean, mean, mean)
    least, most = np.quantile(t, (1 - confidence) / 2, method="lower"), np.quantile(t, (1 + confidence) / 2, method="higher")
    return Interval(mean, mean - float(most) * error, mean - float(least) * error)


def shown_interval(new: Floats, old: Floats, scenes: Sequence[str]) -> Interval:
    """The ``interval`` that people are shown, from the figures and the scene of each image of one or several datasets."""
    return interval(PairedSample.of(["all"] * len(scenes), scenes, new, old), CONFIDENCE, RESAMPLES, SEED)


def _draws(sample: PairedSample, strata: list[Ints], resamples: int, seed: int) -> Iterator[Floats]:
    """Yield arrays (resamples, scenes): how often each scene is drawn. A stratum of k scenes gives k draws with replacement."""
    rng = np.random.default_rng(seed)
    step = max(1, ROOM // len(sample.new))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        draw = np.zeros((count, sample.units))
        for scenes in strata:
            draw[:, scenes] = rng.multinomial(len(scenes), np.full(len(scenes), 1 / len(scenes)), size=count)
        yield draw


@dataclass(frozen=True)
class _Ratio:
    """A mean over images, as a ratio of sums over scenes, and its standard error under cluster sampling."""

    columns: Floats
    """(scenes, 5): the sum of the differences s, the number of images n, and the products s*s, s*n and n*n."""
    strata: list[Ints]

    @classmethod
    def of(cls, sample: PairedSample, group: NDArray[np.bool_], strata: list[Ints]) -> _Ratio:
        difference = (sample.new - sample.old)[group]
        total = np.bincount(sample.unit[group], difference, sample.units)
        count = np.bincount(sample.unit[group], None, sample.units).astype(np.float64)
        return cls(np.stack([total, count, total * total, total * count, count * count], axis=1), strata)

    def estimate(self, draw: Floats) -> tuple[Floats, Floats]:
        """The mean and standard error of each resample, both (resamples); NaN for a resample without any of the images."""
        sums = draw @ self.columns[:, :2]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums[:, 0] / sums[:, 1]
            variance = np.zeros(len(draw))
            for scenes in self.strata:
                part = draw[:, scenes] @ self.columns[scenes]
                residual = part[:, 0] - mean * part[:, 1]
                squares = part[:, 2] - 2 * mean * part[:, 3] + mean**2 * part[:, 4]
                variance += len(scenes) / max(len(scenes) - 1, 1) * (squares - residual**2 / len(scenes))
            return mean, np.sqrt(np.maximum(variance, 0)) / sums[:, 1]

    def studentised(self, draw: Floats) -> Floats:
        """(mean of the resample - mean) / standard error of the resample: (resamples).

        Infinite for a resample that has no spread but a different mean, and for one without any of the images.
        """
        centre = self.estimate(np.ones((1, draw.shape[1])))[0]
        mean, error = self.estimate(draw)
        off = mean - centre
        off[np.abs(off) < TINY] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(off == 0, 0.0, off / np.where(error < TINY, 0.0, error))
        return np.where(np.isnan(t), np.inf, t)


def _lower(ratio: _Ratio, t: Floats, confidence: float) -> Bound:
    mean, error = (float(values[0]) for values in ratio.estimate(np.ones((1, len(ratio.columns)))))
    highest = float(np.quantile(t, confidence, method="higher"))
    return Bound(mean, mean if error < TINY else mean - highest * error)


@dataclass(frozen=True)
class _Tail:
    """The mean over the worst share of each dataset's images, by one model's figures.

    If the share is not a whole number of images, the last image counts with the remaining fraction.
    """

    orders: list[Ints]
    """For each dataset, the indices of its images, the worst first."""
    scores: Floats
    unit: Ints
    share: float

    @classmethod
    def of(cls, scores: Floats, sample: PairedSample, share: float) -> _Tail:
        groups = [np.flatnonzero(sample.dataset == number) for number in range(len(sample.names))]
        return cls([group[np.argsort(scores[group], kind="stable")] for group in groups], scores, sample.unit, share)

    def mean(self, draw: Floats) -> Floats:
        """The mean in each resample: (resamples)."""
        total, count = np.zeros(len(draw)), np.zeros(len(draw))
        for order in self.orders:
            times = draw[:, self.unit[order]]
            before = np.cumsum(times, axis=1) - times
            room = self.share * times.sum(axis=1)
            taken = np.clip(room[:, None] - before, 0, times)
            total += taken @ self.scores[order]
            count += room
        return total / count
