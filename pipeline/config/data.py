"""The data part of params.yaml: where a dataset's pairs come from, and how they are checked and packed.

It is separate from the other params, so that a change to the training's params or code does not prepare the data again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from pipeline.config.schema import Strict, by_keys
from rdmc.data.shards import Pixels


class Layout(StrEnum):
    """What the files of a plain folder are: clean images, or pairs side by side with the clean half on the named side."""

    CLEAN = "clean"
    CLEAN_LEFT = "clean-left"
    CLEAN_RIGHT = "clean-right"


class Embedded(Strict):
    """Rain rendered over the photographs that ship with scikit-image, scikit-learn and ai-benchmark."""

    source: Literal["embedded"]
    rain: str
    """Kind of rain, one of ``rdmc.datasets.rain.KINDS``. ``Params`` checks it, so that ``train`` need not import the rain."""
    variants: int = Field(ge=0, le=1000)
    """Pairs per training photograph, each another view in another rain; 0 for a dataset that only validates and tests. The
    other photographs get one rain each."""


class PairFolders(Strict):
    """Pairs of separate files, in two folders or in one. A glob finds each half."""

    rainy: str
    """Glob of the rainy images, absolute or relative to the project's folder."""
    clean: str
    """Glob of the clean images. They are matched to the rainy images by name (docs/data.md explains how)."""


class SideBySide(Strict):
    """Pairs of one file each, with the clean and the rainy half side by side."""

    images: str
    """Glob of the files."""
    left: Literal["clean", "rainy"]
    """Which half is on the left."""


Pairs = Annotated[
    Annotated[PairFolders, Tag("PairFolders")] | Annotated[SideBySide, Tag("SideBySide")], by_keys(PairFolders, SideBySide)
]


class Folders(Strict):
    """A user's own pairs, by split. Without ``validation``, ``validation_share`` of the training scenes become that split."""

    source: Literal["folders"]
    train: Pairs | None = None
    validation: Pairs | None = None
    test: Pairs | None = None
    validation_share: float = Field(default=0.05, ge=0, lt=1)

    @model_validator(mode="after")
    def _has_a_split(self) -> Folders:
        if not (self.train or self.validation or self.test):
            raise ValueError("names no images; give at least one of train, validation, test")
        return self


class Published(Strict):
    """A copy of a benchmark in ``rdmc.datasets.benchmarks.registry``.

    ``prepare`` detects its layout, and checks its pair counts and its input PSNR-Y.
    """

    source: Literal["benchmark"]
    name: str
    """The benchmark's name, as ``python -m pipeline datasets`` lists it."""
    path: str
    """Folder of the unpacked copy, absolute or relative to the project's folder."""
    split: Literal["train", "validation", "test"] | None = None
    """Split of the images whose folders do not name one. If unset, the benchmark's own rule decides."""
    partial: bool = False
    """Accept a copy that is only a part of the benchmark."""
    validation_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the training scenes that become the validation split, if the copy has no validation split."""


Dataset = Annotated[Embedded | Folders | Published, Field(discriminator="source")]


class Prepare(Strict):
    """The checks of ``prepare``."""

    max_quarantined: float = Field(ge=0, le=1)
    """Largest share of the pairs that may be left out. With more, ``prepare`` fails."""
    judge_sides: bool = True
    """Leave out pairs whose clean image has the streaks, and refuse a dataset with many of them; false for drops on glass."""
    convert: bool = False
    """Convert grey, alpha, palette, CMYK and 16-bit pictures of pairs to 8-bit RGB, and list them; false leaves them out."""


class Leaks(Strict):
    """How ``leaks`` finds scenes that two splits share, within one dataset or across two, and what ``pack`` does about them."""

    exclude: bool
    """Leave out of the shards: training pairs that show a scene of a validation or test split, and validation pairs that show a
    scene of a test split."""
    score: float = Field(gt=0, le=1)
    """Pixel agreement from which two images count as the same scene (``rdmc.datasets.likeness.agreement``)."""


class Pack(Strict):
    """The shards that ``pack`` writes."""

    shard_mb: float = Field(gt=0, le=10_000)
    """Size in MB at which a shard is closed and the next one begins."""
    pixels: Pixels
    """How shards hold images: the file's own bytes (original), its pixels under Zstandard, but a JPEG's own bytes (zstd), or
    bare pixels (raw). The later ones are larger and load faster."""
