"""The sweep in params.yaml, typed: what is searched, with which algorithm, for how long, and under which conditions."""

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
"""A trial's values of its searched params, by dotted name."""


def _ascending(bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    if bounds[0] >= bounds[1]:
        raise ValueError("The first bound should be below the second")
    return bounds


class Searched(Strict):
    """What every domain can have: a condition."""

    when: dict[str, Value | list[Value]] = Field(default_factory=dict)
    """The condition: other searched params, and the value (or any of a list) that each must have for this one to be searched.

    Otherwise the param keeps its value in params.yaml.
    """


class Choice(Searched):
    """One value of a list."""

    choice: list[Value] = Field(min_length=1)

    @property
    def ends(self) -> Sequence[Any]:
        """All values."""
        return self.choice


class Uniform(Searched):
    """A float between two bounds."""

    uniform: Annotated[tuple[float, float], AfterValidator(_ascending)]

    @property
    def ends(self) -> Sequence[Any]:
        """The bounds."""
        return self.uniform


class LogUniform(Searched):
    """A float between two bounds, uniform on a logarithmic scale."""

    loguniform: Annotated[tuple[PositiveFloat, float], AfterValidator(_ascending)]

    @property
    def ends(self) -> Sequence[Any]:
        """The bounds."""
        return self.loguniform


class Integer(Searched):
    """An integer between two bounds, both included."""

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
    """Population based training: how poor members copy good ones (Jaderberg et al. 2017, arXiv 1711.09846)."""

    every: int = Field(ge=1)
    """Steps between two comparisons of the members. It must be a multiple of train.validate_every."""
    quantile: float = Field(gt=0, le=0.5)
    """Share of the members, the worst, that copy the weights of as many of the best."""
    resample: float = Field(ge=0, le=1)
    """Probability that a copied param is drawn again; otherwise its value is changed a little."""


class Tune(Strict):
    """The sweep: what is searched, with which algorithm, for how long, and how many trials run at once."""

    algorithm: Literal["optuna", "random", "pbt"]
    """``optuna`` (tree-structured Parzen estimator) and ``random`` stop poor trials early; ``pbt`` changes their params."""
    objectives: list[Literal["psnr_y", "gflop"]] = Field(min_length=1)
    """What is best: the highest validation PSNR-Y, or the Pareto front of PSNR-Y and the cost of a 256x256 image (GFLOP)."""
    trials: int = Field(ge=1)
    """Trials in all. For ``pbt``, the size of the population."""
    seconds: float = Field(ge=0)
    """Time limit of the sweep in seconds; 0: none. After it, no trial starts, and running ones end at their next validation."""
    total_steps: int = Field(ge=0)
    """Limit of the optimiser steps of all trials together, applied in the same way; 0 sets none."""
    concurrent: int = Field(ge=1)
    """Trials that run at once, with one worker each unless the settings say otherwise."""
    steps: int = Field(ge=1)
    """Optimiser steps of a trial that is not stopped early."""
    grace_steps: int = Field(ge=1)
    """Steps that each trial takes before successive halving may stop it. The value of ``steps`` turns early stopping off."""
    reduction: int = Field(ge=2)
    """Successive halving keeps one trial in this many at each rung (grace_steps, times this, …)."""
    pbt: Population
    space: dict[str, Domain] = Field(min_length=1)
    """Dotted params (``train.lr``) and the domain of each."""

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
    """The params of a space in the order of the file, except that each follows the params that its condition names.

    Raises ConfigError for a condition on a param that is not searched, on a value that the param cannot have, or on itself.
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
        raise ConfigError(f"{where}: {other} is no choice, and a condition needs one; make it a choice, or drop the condition")
    if not wanted or (impossible := [value for value in wanted if not any(same(value, known) for known in domain.choice)]):
        shown = repr(impossible[0]) if wanted else "an empty list"
        raise ConfigError(f"{where}: {shown} is none of {domain.choice}, so it never holds; fix the value")


def same(one: Any, other: Any) -> bool:
    """Whether two values of params.yaml are equal. ``true`` and 1 are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def holds(domain: Searched, chosen: Chosen) -> bool:
    """Whether the condition of a domain holds, given the chosen values of the other params."""
    return all(
        other in chosen and any(same(chosen[other], value) for value in (wanted if isinstance(wanted, list) else [wanted]))
        for other, wanted in domain.when.items()
    )


def example(key: str, value: Any, space: Space) -> dict[str, Any]:
    """Values of a trial in which ``key`` is searched and has ``value``: this value, and those that its condition asks for.

    Raises ConfigError if no trial can have all of them.
    """
    found = next(_examples(key, value, space), None)
    if found is None:
        raise ConfigError(
            f"tune.space.{key}.when: no trial has all that it asks for, so it is never searched; fix the condition"
        )
    return found


def _examples(key: str, value: Any, space: Space) -> Iterator[dict[str, Any]]:
    """Every consistent set of values of ``key`` and of the params that its condition, and theirs in turn, name."""
    asked = [
        [(other, one) for one in (wanted if isinstance(wanted, list) else [wanted])]
        for other, wanted in space[key].when.items()
    ]
    for chosen in product(*asked):
        for parts in product(*(list(_examples(other, one, space)) for other, one in chosen)):
            merged: dict[str, Any] = {}
            if all(same(merged.setdefault(name, one), one) for part in parts for name, one in part.items()):
                yield {**merged, key: value}
