"""The sweep in params.yaml, typed: what is searched, by what, how long; and which params of a space are searched together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, Tag, field_validator, model_validator

from pipeline.config.schema import Strict, by_keys
from rdmc.errors import ConfigError

Value = int | float | str | bool
Chosen = Mapping[str, Any]
"""Dotted params and the values that a trial has of them."""


def _ascending(bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    if bounds[0] >= bounds[1]:
        raise ValueError("The first bound should be below the second")
    return bounds


class Searched(Strict):
    """What every domain may have."""

    when: dict[str, Value | list[Value]] = Field(default_factory=dict)
    """Searched params and the values (one, or any of a list) that they must have for this one to be searched too.

    Where they have others, the param stays as params.yaml has it.
    """


class Choice(Searched):
    """One of a list."""

    choice: list[Value] = Field(min_length=1)

    @property
    def ends(self) -> Sequence[Any]:
        """Every value."""
        return self.choice


class Uniform(Searched):
    """A float between two bounds."""

    uniform: Annotated[tuple[float, float], AfterValidator(_ascending)]

    @property
    def ends(self) -> Sequence[Any]:
        """The bounds."""
        return self.uniform


class LogUniform(Searched):
    """A float between two bounds, even on a logarithmic scale."""

    loguniform: Annotated[tuple[PositiveFloat, float], AfterValidator(_ascending)]

    @property
    def ends(self) -> Sequence[Any]:
        """The bounds."""
        return self.loguniform


class Integer(Searched):
    """A whole number between two bounds, both of which it may be."""

    integer: Annotated[tuple[int, int], AfterValidator(_ascending)]

    @property
    def ends(self) -> Sequence[Any]:
        """The bounds."""
        return self.integer


Domain = Annotated[
    Annotated[Choice, Tag("Choice")]
    | Annotated[Uniform, Tag("Uniform")]
    | Annotated[LogUniform, Tag("LogUniform")]
    | Annotated[Integer, Tag("Integer")],
    by_keys(Choice, Uniform, LogUniform, Integer),
]
Space = Mapping[str, Choice | Uniform | LogUniform | Integer]


class Population(Strict):
    """Population based training: how members learn from one another (Jaderberg et al. 2017, arXiv 1711.09846)."""

    every: int = Field(ge=1)
    """Steps between two comparisons of the members; a multiple of train.validate_every."""
    quantile: float = Field(gt=0, le=0.5)
    """Share of the members, from below, that take over the weights of as many from above."""
    resample: float = Field(ge=0, le=1)
    """How likely a param that is taken over is drawn anew rather than moved a little."""


class Tune(Strict):
    """The sweep: what is searched, by what, how long, how many at once."""

    algorithm: Literal["optuna", "random", "pbt"]
    """``optuna`` (tree-structured Parzen estimator) and ``random`` stop poor trials early; ``pbt`` changes params meanwhile."""
    objectives: list[Literal["psnr_y", "gflop"]] = Field(min_length=1)
    """What is best: the highest validation PSNR-Y, or the front of it and of the cost of an image of 256x256 (GFLOP)."""
    trials: int = Field(ge=1)
    """Trials in all; the size of the population of ``pbt``."""
    seconds: float = Field(ge=0)
    """Bound of the whole sweep's time; 0 sets none. No trial begins after it, and running ones end at their next validation."""
    total_steps: int = Field(ge=0)
    """Bound of the optimiser steps of all trials together, kept likewise; 0 sets none."""
    concurrent: int = Field(ge=1)
    """Trials at once, with one worker each unless the settings say otherwise."""
    steps: int = Field(ge=1)
    """Optimiser steps of a trial that is never stopped early."""
    grace_steps: int = Field(ge=1)
    """Steps every trial may take before successive halving may stop it; ``steps`` turns that off."""
    reduction: int = Field(ge=2)
    """Successive halving keeps one trial in this many at each rung (grace_steps, times this, …)."""
    pbt: Population
    space: dict[str, Domain] = Field(min_length=1)
    """Dotted params (``train.lr``) and where they may lie."""

    @field_validator("objectives")
    @classmethod
    def _quality_counts(cls, value: list[str]) -> list[str]:
        if value not in (["psnr_y"], ["psnr_y", "gflop"]):
            raise ValueError("Objectives should be [psnr_y] or [psnr_y, gflop]")
        return value

    @model_validator(mode="after")
    def _rungs_fit(self) -> Tune:
        if self.grace_steps > self.steps:
            raise ValueError(f"grace_steps {self.grace_steps} exceeds steps {self.steps}")
        return self

    @model_validator(mode="after")
    def _conditions_hold(self) -> Tune:
        ordered(self.space)
        return self


def ordered(space: Space) -> list[str]:
    """The params of a space, each after those that its condition names, else in the order of the file.

    Raises ConfigError for a condition on a param that is not searched, on a value that it cannot have, or on itself.
    """
    for key, domain in space.items():
        for other, wanted in domain.when.items():
            _check_condition(key, other, wanted if isinstance(wanted, list) else [wanted], space)
    try:
        return list(TopologicalSorter({key: list(domain.when) for key, domain in space.items()}).static_order())
    except CycleError as error:
        circle = " needs ".join(error.args[1])
        raise ConfigError(f"tune.space: conditions go round ({circle}); drop one of them") from None


def _check_condition(key: str, other: str, wanted: Sequence[Any], space: Space) -> None:
    where = f"tune.space.{key}.when.{other}"
    domain = space.get(other)
    if domain is None:
        raise ConfigError(f"{where}: {other} is not searched; add it to tune.space, or drop the condition")
    if not isinstance(domain, Choice):
        raise ConfigError(f"{where}: {other} is no choice, so it has no such values; a condition needs one")
    if not wanted or (impossible := [value for value in wanted if not any(same(value, known) for known in domain.choice)]):
        shown = repr(impossible[0]) if wanted else "an empty list"
        raise ConfigError(f"{where}: {shown} is none of {domain.choice}; so it never holds: mend the value")


def same(one: Any, other: Any) -> bool:
    """Whether two values of params.yaml are equal; true and 1 are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def holds(domain: Searched, chosen: Chosen) -> bool:
    """Whether the condition of a domain holds under the values that others have."""
    return all(
        other in chosen and any(same(chosen[other], value) for value in (wanted if isinstance(wanted, list) else [wanted]))
        for other, wanted in domain.when.items()
    )


def example(key: str, value: Any, space: Space) -> dict[str, Any]:
    """Values of a trial in which ``key`` is searched and has ``value``: with it, what its condition asks for.

    Raises ConfigError where no trial has all of that.
    """
    found = next(_examples(key, value, space), None)
    if found is None:
        raise ConfigError(f"tune.space.{key}.when: no trial has all that it asks for, so it is never searched; mend it")
    return found


def _examples(key: str, value: Any, space: Space) -> Iterator[dict[str, Any]]:
    """Every set of values of ``key`` and of those that its condition and theirs name, without contradictions."""
    asked = [
        [(other, one) for one in (wanted if isinstance(wanted, list) else [wanted])]
        for other, wanted in space[key].when.items()
    ]
    for chosen in product(*asked):
        for parts in product(*(list(_examples(other, one, space)) for other, one in chosen)):
            merged: dict[str, Any] = {}
            if all(same(merged.setdefault(name, one), one) for part in parts for name, one in part.items()):
                yield {**merged, key: value}
