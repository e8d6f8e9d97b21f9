"""What a detector finds in a photograph before and after deraining.

Nobody has marked what is there, so more objects or higher scores are a change, and not by themselves better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.comparison.unpaired.measure import WildResult
from rdmc.downstream.annotations import class_names
from rdmc.downstream.boxes import Detections
from rdmc.downstream.detection import SCORE, Detector, NetworkDetector
from rdmc.downstream.inputs import Values
from rdmc.downstream.network import open_network


@dataclass(frozen=True)
class DetectorFile:
    """A detector as a user names it."""

    path: Path
    classes: Path | None = None
    """A text file with the name of a class a line."""
    layout: str = ""
    """The form of its outputs; empty to recognise it."""
    values: Values = "unit"
    bgr: bool = False
    stretch: bool = False


@dataclass(frozen=True)
class Lookout:
    """An opened detector."""

    about: str
    """What it is, for the report."""
    detect: Detector
    names: Sequence[str] = ()
    """Of its classes, from 0; a class without a name has its number."""

    def scores(self, found: Detections) -> dict[str, list[float]]:
        """The scores of the objects that count as found (``SCORE``), by class, the highest first."""
        scores: dict[str, list[float]] = {}
        clear = found.above(SCORE)
        for label, score in zip(clear.labels.tolist(), clear.scores.tolist(), strict=True):
            name = self.names[label] if label < len(self.names) else f"class {label}"
            scores.setdefault(name, []).append(score)
        return scores


@dataclass(frozen=True)
class ClassFinds:
    """The objects of one class, or of all, over all photographs."""

    before: int
    after: int
    score_before: float | None
    """The mean score, 0 to 1; None if there is no object."""
    score_after: float | None


def open_detector(choice: DetectorFile) -> Lookout:
    """Open the file. Raises ConfigError or CheckpointError for a file or a layout that cannot be used."""
    names = class_names(choice.classes)
    network, rule, about = open_network(choice.path, choice.values, choice.bgr, choice.stretch)
    return Lookout(about, NetworkDetector(network, rule, choice.layout, choice.path), names)


def class_finds(results: Sequence[WildResult]) -> dict[str, ClassFinds]:
    """What was found over all photographs: ``all`` first, then each class, those with most objects first."""
    before, after = _joined([one.objects_before for one in results]), _joined([one.objects_after for one in results])
    names = {name: len(before.get(name, [])) + len(after.get(name, [])) for name in [*before, *after]}
    order = sorted(names, key=lambda name: (-names[name], name))
    every = _finds([score for one in before.values() for score in one], [score for one in after.values() for score in one])
    return {"all": every, **{name: _finds(before.get(name, []), after.get(name, [])) for name in order}}


def rows(found: Mapping[str, ClassFinds], most: int) -> list[list[str]]:
    """The rows of a table, at most ``most``: class, objects before and after, mean score before and after."""
    shown = list(found.items())[:most]
    return [[name, str(one.before), str(one.after), _score(one.score_before), _score(one.score_after)] for name, one in shown]


def _joined(images: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    every: dict[str, list[float]] = {}
    for image in images:
        for name, scores in image.items():
            every.setdefault(name, []).extend(scores)
    return every


def _finds(before: Sequence[float], after: Sequence[float]) -> ClassFinds:
    return ClassFinds(len(before), len(after), _mean(before), _mean(after))


def _mean(scores: Sequence[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
