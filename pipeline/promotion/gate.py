"""The gate: judges a challenger from the figures of two models on the same test images. docs/decisions/0012 has the reasons.

The statistics are in ``pipeline.evaluation.bootstrap``. The functions here are pure: they know neither MLflow nor where the
figures come from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.registry import Gate
from pipeline.evaluation.bootstrap import Bound, PairedSample, bounds
from pipeline.evaluation.finite import finite
from pipeline.evaluation.model_figures import ImageIdentity, ModelFigures
from rdmc.errors import DataError

Floats = NDArray[np.float64]
FEW = "by the mean: too few for a bound"
LEAST = 4
"""Fewest scenes for the bound of a mean. With three, it wrongly passes a model in 8 of 100 cases at a confidence of 0.95."""


@dataclass(frozen=True)
class Check:
    """One rule of the gate and its result."""

    name: str
    passed: bool
    said: str
    """The result as a sentence."""
    value: float | None = None
    low: float | None = None
    """Lower bound at the gate's confidence."""
    least: float | None = None
    """What the lower bound, or without one the value, must reach. For ``cost``, the value that must not be exceeded."""

    @property
    def unsure(self) -> bool:
        """Whether it fails although its value is good enough: only the certainty is missing."""
        measured = self.value is not None and self.least is not None and self.name != "cost"
        return not self.passed and measured and float(self.value or 0) >= float(self.least or 0)


@dataclass(frozen=True)
class Verdict:
    """The gate's decision about a challenger, with the result of each rule."""

    challenger: str
    champion: str
    checks: tuple[Check, ...]
    images: int
    scenes: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further facts for a reader, by name. They do not decide."""
    by: str = "scene"
    """What counts as independent: scenes, or each image by itself."""

    @property
    def passed(self) -> bool:
        """Whether every rule holds."""
        return all(check.passed for check in self.checks)

    @property
    def line(self) -> str:
        """One line: that it passed and by how much, or which rules failed, those first that more images would not change."""
        failed = [check.said for check in self.ordered if not check.passed]
        gain = next((check.said for check in self.checks if check.name == "overall"), "")
        return f"passed: {gain}" if not failed else f"refused: {'; '.join(failed)}"

    @property
    def ordered(self) -> list[Check]:
        """The rules: those that fail for certain, those that fail for want of certainty, those that hold."""
        return sorted(self.checks, key=lambda check: (check.passed, check.unsure))

    @property
    def counted(self) -> str:
        """How many images and scenes were compared."""
        apart = ", each image counted by itself (gate.by: image)" if self.by == "image" else ""
        return f"{self.images} images of {self.scenes} scene{'' if self.scenes == 1 else 's'}{apart}"

    def to_json(self) -> str:
        """The whole verdict as JSON; a number that is not finite is null."""
        content = {"passed": self.passed, "line": self.line, **asdict(self)}
        return json.dumps(finite(content), indent=1) + "\n"

    def to_markdown(self) -> str:
        """The verdict as a Markdown page."""
        rows = [
            f"| {check.name} | {'holds' if check.passed else '**fails**'} | {_shown(check.value)} | {_shown(check.low)} "
            f"| {_shown(check.least)} | {check.said} |"
            for check in self.ordered
        ]
        return "\n".join(
            [
                f"# {self.challenger} against {self.champion}: {'passed' if self.passed else 'refused'}",
                "",
                f"On {self.counted}. Differences in PSNR-Y, dB.",
                "",
                "| rule | | value | lower bound | needed | |",
                "|---|---|---|---|---|---|",
                *rows,
                "",
                *(f"- {name}: {value}" for name, value in self.facts.items()),
                "",
            ]
        )


def judge(
    challenger: ModelFigures, champion: ModelFigures, rules: Gate, seed: int, others: Sequence[Check] = (), first: bool = False
) -> Verdict:
    """Compare a challenger with the champion or, if there is no champion yet (``first``), with the rainy input.

    A first champion replaces nothing, so with too few scenes for an interval it is judged by means. A later challenger is
    refused then, and each of its datasets is judged by its bound alone.

    Args:
        challenger: figures of the new model.
        champion: figures of the champion or of the rainy input, on the same images.
        rules: the ``gate`` section of params.yaml.
        seed: of the bootstrap.
        others: results of the rules on other things than these images.
        first: whether there is no champion yet.

    Raises:
        DataError: the two were measured on different images or on none, or no image has finite figures of both.
    """
    _require_same(challenger, champion)
    new, old = np.array(challenger.psnr_y), np.array(champion.psnr_y)
    known = np.isfinite(new) & np.isfinite(old)
    images = [image for image, usable in zip(challenger.images, known, strict=True) if usable]
    if not images:
        raise DataError(f"{challenger.label}: no test image has a finite figure of both models; train again")
    sample = PairedSample.of(
        [image.dataset for image in images], [_unit(image, rules.by) for image in images], new[known], old[known]
    )
    checks = [
        *_comparisons(sample, rules, seed, first),
        _failures(challenger, new, old),
        _clean(challenger, champion, rules),
        _cost(challenger, champion, rules),
        *others,
    ]
    ssim = float(np.mean(np.array(challenger.ssim_y)[known] - np.array(champion.ssim_y)[known]))
    facts = {"SSIM-Y, mean difference": round(ssim, 5), **_times(challenger, champion)}
    scenes = len({image.scene for image in images})
    return Verdict(challenger.label, champion.label, tuple(checks), len(images), scenes, facts, rules.by)


def _require_same(a: ModelFigures, b: ModelFigures) -> None:
    if not a.images or a.images != b.images:
        odd = sorted({f"{i.dataset}/{i.name}" for i in set(a.images) ^ set(b.images)})[:1]
        raise DataError(f"{a.label}, {b.label}: not measured on the same images ({odd or 'none'}); measure both together")


def _unit(image: ImageIdentity, by: str) -> str:
    return image.scene if by == "scene" else f"{image.dataset}/{image.name}"


@dataclass(frozen=True)
class _Part:
    """The images that one rule judges."""

    units: int
    """How many scenes they show, or how many they are if each counts by itself."""
    images: int
    by: str
    floor: float
    """The smallest difference among them, dB. A lower bound of their mean that lies below it says nothing."""

    @classmethod
    def of(cls, sample: PairedSample, by: str, dataset: str = "") -> _Part:
        """All images of a sample, or those of one dataset."""
        chosen = sample.dataset == sample.names.index(dataset) if dataset else np.ones(len(sample.new), bool)
        units = len(np.unique(sample.unit[chosen]))
        return cls(units, int(chosen.sum()), by, float((sample.new - sample.old)[chosen].min()))

    @property
    def counted(self) -> str:
        """How many scenes or images it has, as text."""
        return f"{self.units} {self.by}{'' if self.units == 1 else 's'}"

    @property
    def advice(self) -> str:
        """What gives the rule more to judge by."""
        return "add test scenes, or set gate.by: image" if self.units < self.images else f"add test {self.by}s"


def _comparisons(sample: PairedSample, rules: Gate, seed: int, first: bool) -> list[Check]:
    """The rules that compare both models: over all images, on each dataset, and on the worst images."""
    result = bounds(sample, rules.worst_share, rules.confidence, rules.resamples, seed)
    everything = _Part.of(sample, rules.by)
    overall = _mean("overall", result.overall, rules.margin, everything, rules, first, rules.min_scenes)
    each = [
        _mean(f"dataset {name}", bound, -rules.tolerance, _Part.of(sample, rules.by, name), rules, first, LEAST)
        for name, bound in result.datasets.items()
    ]
    interval = everything.units >= rules.min_scenes
    worst = _bounded(f"worst {rules.worst_share:.0%}", result.worst, -rules.worst_tolerance, rules.confidence, interval)
    return [overall, *each, worst]


def _mean(name: str, bound: Bound, least: float, part: _Part, rules: Gate, first: bool, fewest: int) -> Check:
    """The rule for the mean over all images or over those of a dataset.

    With fewer than ``gate.min_scenes`` a first champion is judged by the mean. A challenger is judged by the bound, and refused
    with fewer than ``fewest``. A refusal first says whether the mean itself is too low or only what is known of it too little.
    """
    few = part.units < rules.min_scenes
    if few and first:
        return _bounded(name, bound, least, rules.confidence, interval=False)
    check = _bounded(name, bound, least, rules.confidence)
    if part.units >= fewest and (check.passed or not (few or bound.low < part.floor)):
        return check
    if bound.mean < least:
        said = f"{name} {bound.mean:+.2f} dB, the mean of {part.counted} (needed {least:+.2f})"
    else:
        more = f", at least {fewest} are needed" if part.units < fewest else ""
        said = f"{name} {bound.mean:+.2f} dB, but {part.counted} are too few to be sure of {least:+.2f}{more}: {part.advice}"
    return Check(name, False, said, bound.mean, None, least)


def _bounded(name: str, bound: Bound, least: float, confidence: float, interval: bool = True) -> Check:
    """Check that the lower bound reaches ``least``; without ``interval``, that the mean does."""
    low = bound.low if interval else None
    judged = f"at least {bound.low:+.2f} with {100 * confidence:g}% confidence" if interval else FEW
    passed = (bound.low if interval else bound.mean) >= least
    return Check(name, passed, f"{name} {bound.mean:+.2f} dB ({judged}; needed {least:+.2f})", bound.mean, low, least)


def _failures(challenger: ModelFigures, new: Floats, old: Floats) -> Check:
    """Check that the challenger's output is finite wherever the champion's is."""
    failed = np.flatnonzero(~np.isfinite(new) & np.isfinite(old))
    if not len(failed):
        return Check("finite", True, "what comes out is finite wherever the champion's is", 0.0)
    one = challenger.images[failed[0]]
    said = f"not finite on {len(failed)} images, as {one.dataset}/{one.name}, where the champion is"
    return Check("finite", False, said, float(len(failed)))


def _clean(challenger: ModelFigures, champion: ModelFigures, rules: Gate) -> Check:
    """Check that clean images stay clean, by the image that falls furthest below what it must keep."""
    if not challenger.clean:
        return Check("clean images", False, "no clean image was tried")
    needed = {name: min(rules.clean, champion.clean.get(name, math.inf) - rules.tolerance) for name in challenger.clean}
    worst = min(needed, key=lambda name: _below(challenger.clean[name], needed[name]))
    value, least = challenger.clean[worst], needed[worst]
    said = f"of {len(needed)} clean images {worst} keeps {value:.2f} dB; needed {least:.2f}"
    return Check("clean images", value >= least, said, value, None, least)


def _below(value: float, least: float) -> float:
    return value - least if math.isfinite(value) else -math.inf


def _cost(challenger: ModelFigures, champion: ModelFigures, rules: Gate) -> Check:
    """Check that the challenger costs at most ``rules.cost`` times as much as the champion."""
    if challenger.gflop is None or not champion.gflop:
        return Check("cost", True, "nothing to compare the cost with")
    ratio = challenger.gflop / champion.gflop
    said = f"cost {ratio:.2f} times the champion's ({challenger.gflop:.3g} GFLOP; at most {rules.cost:g} times)"
    return Check("cost", ratio <= rules.cost, said, ratio, None, rules.cost)


def _times(challenger: ModelFigures, champion: ModelFigures) -> dict[str, Any]:
    """The ratio of the measured times, as a fact. It depends on the machine and its load, so the verdict does not use it."""
    if not challenger.seconds or not champion.seconds:
        return {}
    ratio = float(np.median(np.array(challenger.seconds) / np.array(champion.seconds)))
    return {"seconds an image, times the champion's (median)": round(ratio, 3)}


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
