"""The data part of params.yaml: where a dataset's pairs come from and how they are checked and packed.

Apart from the rest of the params, so that a change of the training's params or code does not prepare the data again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from pipeline.config.schema import Strict, by_keys


class Layout(StrEnum):
    """What the files of a bare folder are: clean images, or pairs side by side with the clean half on that side."""

    CLEAN = "clean"
    CLEAN_LEFT = "clean-left"
    CLEAN_RIGHT = "clean-right"


class Embedded(Strict):
    """Rain rendered over the photographs that ship inside scikit-image and scikit-learn."""

    source: Literal["embedded"]
    rain: Literal["light", "heavy"]
    """Kind of rain, of ``rdmc.datasets.rain.KINDS``."""
    variants: int = Field(ge=1, le=1000)
    """Pairs of each training photograph, every one another view of it in another rain; the others get two rains each."""


class PairFolders(Strict):
    """Pairs that lie in two folders, or in one beside each other: globs that find both halves."""

    rainy: str
    """Glob of the rainy images, relative to the project's folder or absolute."""
    clean: str
    """Glob of the clean ones; matched to the rainy ones by name (docs/architecture.md says how)."""


class SideBySide(Strict):
    """Pairs that lie in one file each, clean and rainy halves side by side."""

    images: str
    """Glob of the files."""
    left: Literal["clean", "rainy"]
    """Which half is on the left."""


Pairs = Annotated[
    Annotated[PairFolders, Tag("PairFolders")] | Annotated[SideBySide, Tag("SideBySide")], by_keys(PairFolders, SideBySide)
]


class Folders(Strict):
    """Somebody's own pairs, by split. Without ``validation``, ``validation_share`` of the training scenes becomes it."""

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
    """A copy of a benchmark of ``rdmc.datasets.benchmarks.registry``: its layout is found, its counts and figures are checked."""

    source: Literal["benchmark"]
    name: str
    """As ``python -m pipeline datasets`` lists it."""
    path: str
    """Folder of the unpacked copy, relative to the project's folder or absolute."""
    split: Literal["train", "validation", "test"] | None = None
    """The split of pictures whose folders do not tell one; unset takes the benchmark's own rule."""
    partial: bool = False
    """Take a copy that is only a part of the benchmark."""
    validation_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the training scenes that becomes the validation split, where the copy has none."""


Dataset = Annotated[Embedded | Folders | Published, Field(discriminator="source")]


class Prepare(Strict):
    """The checks of ``prepare``."""

    max_quarantined: float = Field(ge=0, le=1)
    """Share of the pairs that may be set aside before ``prepare`` fails."""
    judge_sides: bool = True
    """Set aside pairs of which the clean picture has the streaks, and refuse a dataset of many; false for drops on glass."""


class Leaks(Strict):
    """Scenes that two splits share, of one dataset or of two."""

    exclude: bool
    """Leave out of the shards the training pairs that show a scene of a validation or test, and such validation pairs."""
    score: float = Field(gt=0, le=1)
    """Agreement of the pixels from which two images show one scene (``rdmc.datasets.likeness.agreement``)."""


class Pack(Strict):
    """The shards of ``pack``."""

    shard_mb: float = Field(gt=0, le=10_000)
    """A shard is closed once it holds this many MB."""
    pixels: Literal["original", "raw"]
    """What a shard holds of a picture: its own bytes (PNG, JPEG), or raw decoded pixels, which are larger and load faster."""
