"""The networks that look at the images, as a user names them; or the small segmenter that is trained where none is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.console import say
from rdmc.data.images import Image
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.downstream.colour_regions import CLASSES, ColourRegions
from rdmc.downstream.detection import Detector, NetworkDetector
from rdmc.downstream.inputs import Values
from rdmc.downstream.network import open_network
from rdmc.downstream.segmentation import NetworkSegmenter, Segmenter
from rdmc.errors import ConfigError


@dataclass(frozen=True)
class JudgeOptions:
    """What a user says of a network."""

    detector: Path | None = None
    segmenter: Path | None = None
    layout: str = ""
    """The form of a detector's outputs; empty to recognise it."""
    values: Values = "unit"
    bgr: bool = False
    stretch: bool = False


@dataclass(frozen=True)
class Judge:
    """A detector or a segmenter."""

    about: str
    """What it is, for the report."""
    detect: Detector | None = None
    segment: Segmenter | None = None


def judge(options: JudgeOptions) -> Judge:
    """Open the network that is named, or train the small segmenter.

    Raises ConfigError for two networks or none that runs, CheckpointError for a file that is none.
    """
    if options.detector and options.segmenter:
        raise ConfigError("--detector and --segmenter: both are named; run the command once for each")
    path = options.detector or options.segmenter
    if path is None:
        return _trained()
    network, rule, about = open_network(path, options.values, options.bgr, options.stretch)
    if options.detector:
        return Judge(about, detect=NetworkDetector(network, rule, options.layout, path))
    return Judge(about, segment=NetworkSegmenter(network, rule, path))


def _trained() -> Judge:
    photos = [photo for photo in PHOTOS if photo.split == "train"]
    say(f"downstream: no network is named, so a small segmenter is trained on {len(photos)} clean embedded photographs")
    regions = ColourRegions(_clean([photo.name for photo in photos]))
    about = (
        f"a segmenter trained here: {CLASSES} regions of colour and height, by a rule and not by people; it stands in for a "
        "real network and says only how much of its own labelling the rain destroys"
    )
    return Judge(about, segment=regions)


def _clean(names: Sequence[str]) -> list[Image]:
    return [photograph(photo).pixels for photo in PHOTOS if photo.name in names]
