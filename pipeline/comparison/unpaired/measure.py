"""What can be said of a derained photograph without a clean one.

NIQE and PIQE (``rdmc.quality``) say how natural an image looks; lower is better. Neither knows what rain is: a network that
blurs everything may lower them. The share of pixels changed and the size of the change say how much the network did. None of
them replaces looking at the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rdmc.data.images import Image
from rdmc.errors import DataError
from rdmc.quality.niqe import niqe
from rdmc.quality.piqe import piqe

CHANGED = 5
"""A pixel counts as changed if one of its channels differs by at least this many levels of 255."""
MEASURES: dict[str, Callable[[Image], float]] = {"niqe": niqe, "piqe": piqe}
"""The measures by name; NIQE's model of natural images is ``rdmc.quality.niqe.embedded_model``."""


@dataclass(frozen=True)
class WildResult:
    """The figures of one photograph before and after deraining."""

    image: str
    height: int
    width: int
    before: dict[str, float]
    """NIQE and PIQE by name; NaN for an image that is too small for one."""
    after: dict[str, float]
    changed: float
    """Share of pixels changed (``CHANGED``), 0 to 1."""
    mean_change: float
    """Mean absolute difference over pixels and channels, levels of 255."""
    seconds: float
    """Seconds that deraining took."""
    objects_before: dict[str, list[float]] = field(default_factory=dict)
    """Class -> scores of the objects that a detector finds in the photograph; empty without a detector."""
    objects_after: dict[str, list[float]] = field(default_factory=dict)
    """The same in the derained one."""


@dataclass(frozen=True)
class MeasureMeans:
    """The means of one measure over the photographs that have it both before and after."""

    images: int
    before: float
    """NaN if no image has it, as the next two."""
    after: float
    better: float
    """Share of these photographs whose measure fell, 0 to 1."""


def compared(image: str, rainy: Image, derained: Image, seconds: float) -> WildResult:
    """Measure a photograph, (H, W, 3) RGB, 0 to 255, before and after deraining. Raises DataError if the sizes differ."""
    if rainy.shape != derained.shape:
        raise DataError(f"{image}: {rainy.shape} became {derained.shape}; the rule is one size")
    difference = np.abs(derained.astype(np.int16) - rainy)
    before, after = ({name: _or_nan(rule, picture) for name, rule in MEASURES.items()} for picture in (rainy, derained))
    changed = float((difference.max(axis=2) >= CHANGED).mean())
    height, width = rainy.shape[:2]
    return WildResult(image, height, width, before, after, changed, float(difference.mean()), seconds)


def means(results: Sequence[WildResult], name: str) -> MeasureMeans:
    """The means of one of ``MEASURES``."""
    both = [(one.before[name], one.after[name]) for one in results]
    known = np.array([pair for pair in both if not any(map(math.isnan, pair))]).reshape(-1, 2)
    if not len(known):
        return MeasureMeans(0, math.nan, math.nan, math.nan)
    before, after = known.T
    return MeasureMeans(len(known), float(before.mean()), float(after.mean()), float((after < before).mean()))


def _or_nan(rule: Callable[[Image], float], picture: Image) -> float:
    try:
        return rule(picture)
    except DataError:  # a side is too small
        return math.nan
