"""Params of the model registry: under which names, and what a model must show to be promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.schema import Strict

ALIAS = r"^[a-z][a-z0-9-]*$"


class Register(Strict):
    """The names in the model registry."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    alias: str = Field(pattern=ALIAS)
    """Of the version that ``register`` made last."""
    champion: str = Field(pattern=ALIAS)
    """Of the version in use, which only ``promote`` and ``rollback`` move."""

    @model_validator(mode="after")
    def _two_aliases(self) -> Register:
        if self.alias == self.champion:
            raise ValueError(f"alias and champion are both {self.alias!r}: name two")
        return self


class Gate(Strict):
    """What ``promote`` asks of a challenger on the test images; every difference is of PSNR-Y, in dB, to the champion's."""

    confidence: float = Field(ge=0.5, lt=1)
    """Of each lower bound, one-sided: a model that breaks a rule passes it by luck at most once in 1 / (1 - confidence)."""
    margin: float = Field(ge=0)
    """The lower bound of the mean difference over all images must reach this."""
    tolerance: float = Field(ge=0)
    """The lower bound of each dataset's mean difference must not lie further below 0 than this."""
    worst_share: float = Field(gt=0, le=0.5)
    """The images of each dataset on which a model does worst, each model's own."""
    worst_tolerance: float = Field(ge=0)
    """The same for the mean over those."""
    clean: float = Field(ge=0, le=100)
    """PSNR-Y, dB, that a clean image must keep; the champion's where that is lower, less ``tolerance``."""
    clean_share: float = Field(gt=0, le=1)
    """Clean images tried, as a share of each dataset's test images; one at the least."""
    cost: float = Field(ge=1)
    """GFLOP of the challenger over those of the champion, at the most."""
    by: Literal["scene", "image"]
    """What is drawn again in the bootstrap: scenes with all their images, or images as if no two showed one scene."""
    min_scenes: int = Field(ge=2)
    """With fewer of them in all no champion is replaced, and a first one is judged by means; so are its datasets with fewer."""
    resamples: int = Field(ge=100, le=100_000)
