"""Params of the model registry: the names used there, and what a model must show to be promoted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.config.schema import Strict

ALIAS = r"^[a-z][a-z0-9-]*$"
PHOTOGRAPHS = 8
"""Fewest photographs of ``gate.robustness``: with fewer, its bound is worth little."""


class Register(Strict):
    """The names used in the model registry."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    alias: str = Field(pattern=ALIAS)
    """Alias of the version that ``register`` made last."""
    champion: str = Field(pattern=ALIAS)
    """Alias of the version in use. Only ``promote``, ``rollback`` and ``release`` move it."""

    @model_validator(mode="after")
    def _two_aliases(self) -> Register:
        if self.alias == self.champion:
            raise ValueError(f"alias and champion are both {self.alias!r}: give two different names")
        return self


class Robustness(Strict):
    """What ``promote`` requires under the rains of ``python -m pipeline robustness``: gains in dB of PSNR-Y over the input."""

    images: int = Field(ge=0)
    """Embedded test photographs that take part, at most all of them; 0 turns the rule off. It takes as long as deraining each
    of them, 256x256 pixels, under each rain by both models."""
    floor: float = Field(ge=-100, le=100)
    """The lower bound of the mean gain under the worst rain must be at least this."""
    tolerance: float = Field(ge=0)
    """The lower bound of the mean difference to the champion, under the rain where that is lowest, must be at least minus
    this."""

    @model_validator(mode="after")
    def _enough_for_a_bound(self) -> Robustness:
        if 0 < self.images < PHOTOGRAPHS:
            raise ValueError(f"images is {self.images}: a bound needs at least {PHOTOGRAPHS}; 0 turns the rule off")
        return self


class Gate(Strict):
    """What ``promote`` requires of a challenger on the test images. A difference is challenger minus champion, PSNR-Y in dB."""

    confidence: float = Field(ge=0.5, lt=1)
    """One-sided confidence of each lower bound. A model that breaks a rule passes it by chance at most once in
    1 / (1 - confidence) times."""
    margin: float = Field(ge=0)
    """The lower bound of the mean difference over all images must be at least this."""
    tolerance: float = Field(ge=0)
    """The lower bound of each dataset's mean difference must be at least minus this."""
    worst_share: float = Field(gt=0, le=0.5)
    """Share of each dataset's images that count as a model's worst. Each model has its own worst images."""
    worst_tolerance: float = Field(ge=0)
    """The lower bound of the difference of the means over the worst images must be at least minus this."""
    clean: float = Field(ge=0, le=100)
    """PSNR-Y (dB) that a clean image must keep, or the champion's value minus ``tolerance`` if that is lower."""
    clean_share: float = Field(gt=0, le=1)
    """Clean images to try, as a share of each dataset's test images; at least one."""
    cost: float = Field(ge=1)
    """Largest ratio of the challenger's GFLOP to the champion's."""
    by: Literal["scene", "image"]
    """What the bootstrap resamples: scenes with all their images, or images as if no two showed the same scene."""
    min_scenes: int = Field(ge=2)
    """Fewest scenes (or images, see ``by``). With fewer in all, no champion is replaced, and a first champion is judged by its
    means. Its datasets with fewer are judged by their means too."""
    resamples: int = Field(ge=100, le=100_000)
    """Bootstrap resamples."""
    robustness: Robustness = Robustness(images=0, floor=-5.0, tolerance=1.0)
    """Off by default, because it costs minutes."""

    def rules(self) -> dict[str, Any]:
        """Everything that a verdict depends on; without a rule that is off, so that it changes no earlier verdict's basis."""
        return self.model_dump(exclude=None if self.robustness.images else {"robustness"})
