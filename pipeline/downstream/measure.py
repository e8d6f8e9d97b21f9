"""Look at every image of a set in each of its versions, and compare what is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.console import track
from pipeline.downstream.images import CaseSet, RainScene
from rdmc.data.images import Image
from rdmc.data.pairs import Fault
from rdmc.downstream.annotations import Annotations
from rdmc.downstream.boxes import Detections
from rdmc.downstream.detection import SCORE, Agreement, Detector, agreement
from rdmc.downstream.segmentation import Labels, Overlap, Segmenter, overlap

RAINY, DERAINED, CLEAN = VERSIONS = ("rainy", "derained", "clean")
Derain = Callable[[Image], Image]


@dataclass
class SetResult:
    """What was seen in a set of images."""

    name: str
    truth: str
    """What the versions are compared with, in words."""
    names: list[str] = field(default_factory=list)
    """Of the images that count."""
    boxes: Mapping[str, Agreement] = field(default_factory=dict)
    """By version; of a detector."""
    maps: Mapping[str, Overlap] = field(default_factory=dict)
    """By version; of a segmenter."""
    seen: Mapping[str, list[Detections]] = field(default_factory=dict)
    """By version: the boxes in each image."""
    right: Mapping[str, list[int]] = field(default_factory=dict)
    """By version: how many objects of each image are found."""
    faults: list[Fault] = field(default_factory=list)


def detected(cases: CaseSet, detect: Detector, derain: Derain, annotations: Annotations | None) -> SetResult:
    """Detect objects in each version. They are compared with the annotations, else with what is found in the clean image.

    Without a clean image, the finds in the derained image are compared with those in the rainy one. Images without an
    annotation, and annotations without an image, become faults.
    """
    own = annotations is None
    about = "what it finds in the clean image" if cases.pairs else "what it finds in the rainy image"
    result = SetResult(cases.name, about if own else "the annotations", faults=cases.faults())
    marked = annotations.objects if annotations else {}
    seen: dict[str, list[Detections]] = {version: [] for version in VERSIONS}
    sizes: dict[str, tuple[int, int]] = {}
    for case in track(cases.cases(result.faults), f"detect in {cases.name}", len(cases)):
        if not own and case.name not in marked:
            result.faults.append(Fault(case.name, "has no annotation", "absent"))
            continue
        result.names.append(case.name)
        sizes[case.name] = (case.rainy.shape[0], case.rainy.shape[1])
        for version, image in _versions(case, derain).items():
            seen[version].append(detect(image))
    result.seen = {version: found for version, found in seen.items() if found}
    if annotations:
        fitted, outside = annotations.fitted(sizes)
        result.faults += annotations.missing(sizes) + outside
        truth = [fitted[name] for name in result.names]
    else:
        truth = [one.above(SCORE) for one in (seen[CLEAN] or seen[RAINY])]
    compared = [version for version in result.seen if not (own and version == (CLEAN if seen[CLEAN] else RAINY))]
    result.boxes = {version: agreement(truth, result.seen[version]) for version in compared}
    result.right = {
        version: [agreement([one], [other]).right for one, other in zip(truth, result.seen[version], strict=True)]
        for version in compared
    }
    return result


def segmented(cases: CaseSet, segment: Segmenter, derain: Derain, labels: Callable[[str, Labels], Labels] | None) -> SetResult:
    """Segment each version. ``labels`` gives the annotation of an image by its name, at the size of a label map.

    Without it, the versions are compared with the labels of the clean image; without that, derained with rainy.
    """
    about = "its labels of the clean image" if cases.pairs else "its labels of the rainy image"
    result = SetResult(cases.name, "the annotations" if labels else about, faults=cases.faults())
    maps: dict[str, list[Labels]] = {version: [] for version in VERSIONS}
    truth: list[Labels] = []
    for case in track(cases.cases(result.faults), f"segment {cases.name}", len(cases)):
        result.names.append(case.name)
        for version, image in _versions(case, derain).items():
            maps[version].append(segment(image))
        last = (maps[CLEAN] or maps[RAINY])[-1]
        truth.append(labels(case.name, last) if labels else last)
    own = CLEAN if maps[CLEAN] else RAINY
    result.maps = {version: overlap(truth, found) for version, found in maps.items() if found and (labels or version != own)}
    return result


def _versions(case: RainScene, derain: Derain) -> dict[str, Image]:
    found = {RAINY: case.rainy, DERAINED: derain(case.rainy)}
    return found if case.clean is None else {**found, CLEAN: case.clean}


def chosen(result: SetResult, count: int) -> Sequence[int]:
    """The positions of images to show: the most helped, the median, the least helped, by objects found after and before."""
    if not result.right or RAINY not in result.right:
        gains = np.array([len(one.above(SCORE)) for one in result.seen[DERAINED]]) if result.seen else np.zeros(0)
    else:
        gains = np.array(result.right[DERAINED]) - np.array(result.right[RAINY])
    order = np.argsort(-gains, kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(order[place]) for place in dict.fromkeys(places.tolist())]
