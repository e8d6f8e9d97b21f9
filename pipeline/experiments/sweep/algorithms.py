"""The decisions of a sweep, made from its ledger alone: params to try, trials to stop, members that take over others' weights.

The functions hold no state and know nothing of Ray, so a killed sweep that resumes decides as it would have without the kill.
Sources:
asynchronous successive halving, Li et al. 2020, arXiv 1810.05934; population based training, Jaderberg et al. 2017,
arXiv 1711.09846; the samplers are Optuna's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from pipeline.config.tune import Choice, Integer, LogUniform, Tune, Uniform, holds, ordered
from pipeline.experiments.sweep.ledger import OPEN, SweepTrial

SHIFTS = (0.8, 1.25)
"""Factors by which a member moves a number that it takes over."""
FIXED = ("seed", "datasets", "architecture", "network")
FIXED_LOSS = ("prior", "features", "levels", "projection", "vgg19_weights", "vgg19_sha256")
FIXED_TRAIN = ("steps", "warmup_steps", "validate_every", "global_batch_size", "shuffle_shards", "crops_per_decode")


def changes_weights(key: str) -> bool:
    """Whether a param is fixed during a training, because weights, data or steps depend on it."""
    part, _, rest = key.partition(".")
    return part in FIXED or (part == "loss" and rest in FIXED_LOSS) or (part == "train" and rest.split(".")[0] in FIXED_TRAIN)


def distribution(domain: Choice | Uniform | LogUniform | Integer) -> BaseDistribution:
    """The distribution of Optuna for a domain."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.choice)
    if isinstance(domain, Integer):
        return IntDistribution(*domain.integer)
    if isinstance(domain, LogUniform):
        return FloatDistribution(*domain.loguniform, log=True)
    return FloatDistribution(*domain.uniform)


def study_of(tune: Tune, trials: Sequence[SweepTrial], sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    """The trials that ended with a score, as an Optuna study in memory; trials that were stopped early count as pruned.

    Optuna has no pruning with several objectives: there, every trial counts with its last score.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    several = len(tune.objectives) > 1
    study = optuna.create_study(directions=["maximize", "minimize"] if several else ["maximize"], sampler=sampler)
    for trial in trials:
        if trial.score is None or trial.state in ("failed", *OPEN):
            continue
        pruned = trial.state == "stopped early" and not several
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                values=None if pruned else objectives(tune, trial, trial.score),
                params=trial.chosen,
                distributions={key: distribution(tune.space[key]) for key in trial.chosen},
                intermediate_values={} if several else {int(row["step"]): row["psnr_y"] for row in trial.rows},
            )
        )
    return study


def objectives(tune: Tune, trial: SweepTrial, score: float) -> list[float]:
    """The values of the objectives, in the order of ``tune.objectives``."""
    known = {"psnr_y": score, "gflop": math.inf if trial.gflop is None else trial.gflop}
    return [known[name] for name in tune.objectives]


def suggest(tune: Tune, trials: Sequence[SweepTrial], seed: int) -> dict[str, Any]:
    """Values for the next trial, for every param whose condition holds. They depend only on the ledger and ``seed``."""
    mixed = int(np.random.default_rng((seed, len(trials))).integers(2**31))
    samplers = {"optuna": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    sampler = samplers.get(tune.algorithm, optuna.samplers.RandomSampler)(seed=mixed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = study_of(tune, trials, sampler).ask()
        chosen: dict[str, Any] = {}
        for key in ordered(tune.space):
            if holds(tune.space[key], chosen):
                chosen[key] = _ask(asked, key, tune.space[key])
    return {key: chosen[key] for key in tune.space if key in chosen}


def _ask(trial: optuna.Trial, key: str, domain: Choice | Uniform | LogUniform | Integer) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(key, domain.choice)
    if isinstance(domain, Integer):
        return trial.suggest_int(key, *domain.integer)
    return trial.suggest_float(key, *domain.ends, log=isinstance(domain, LogUniform))


def rung(tune: Tune, before: int, step: int) -> int:
    """The highest rung of successive halving, in steps, above ``before`` and at most ``step``; 0 where there is none."""
    reached, place = 0, tune.grace_steps
    while place <= min(step, tune.steps - 1):
        reached = place if place > before else reached
        place *= tune.reduction
    return reached


def goes_on(tune: Tune, trial: SweepTrial, trials: Sequence[SweepTrial]) -> bool:
    """Whether a trial that has just reported may continue. At a rung, only the best 1 / ``tune.reduction`` so far may.

    A trial's rank is the number of trials that are better than it in every objective where they differ. Each trial counts
    with its first validation at or after the rung.
    """
    at = rung(tune, int(trial.rows[-2]["step"]) if len(trial.rows) > 1 else 0, trial.step)
    if not at:
        return True
    own = _at(tune, trial, at)
    others = [values for other in trials if other.number != trial.number and (values := _at(tune, other, at)) is not None]
    better = sum(dominates(other, own) for other in others if own is not None)
    return better < (len(others) + 1) / tune.reduction


def _at(tune: Tune, trial: SweepTrial, step: int) -> list[float] | None:
    score = next((row["psnr_y"] for row in trial.rows if row["step"] >= step), None)
    return None if score is None else objectives(tune, trial, score)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether ``one`` is at least as good in all objectives and better in one.

    PSNR-Y comes first, where more is better; the others are costs, where less is better.
    """
    pairs = [(one[0], other[0]), *((-a, -b) for a, b in zip(one[1:], other[1:], strict=True))]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def front(tune: Tune, trials: Sequence[SweepTrial]) -> list[SweepTrial]:
    """The trials that no other dominates, best PSNR-Y first. With one objective: the best trial and those equal to it."""
    scored = [(trial, objectives(tune, trial, trial.score)) for trial in trials if trial.score is not None]
    scored = [(trial, values) for trial, values in scored if trial.state != "failed"]
    best = [trial for trial, values in scored if not any(dominates(other, values) for _, other in scored)]
    return sorted(best, key=lambda trial: -(trial.score or 0.0))


def next_stretch(tune: Tune, trials: Sequence[SweepTrial]) -> SweepTrial | None:
    """The population's member that continues next, or None while all must wait: no member may be a whole stretch ahead."""
    alive = [trial for trial in trials if trial.state in OPEN]
    behind = min((trial.step if trial.state == "waiting" else trial.until - 1 for trial in alive), default=0)
    return next((trial for trial in alive if trial.state == "waiting" and trial.step <= behind), None)


def donor(tune: Tune, trial: SweepTrial, trials: Sequence[SweepTrial], seed: int) -> SweepTrial | None:
    """The trial whose weights a waiting member takes over: one of the best, where the member is among the worst at its step.

    Returns None where the member keeps its own weights.
    """
    at = {other.number: _at(tune, other, trial.step) for other in trials if other.state in (*OPEN, "finished")}
    scores = {number: values[0] for number, values in at.items() if values is not None}
    ranked = sorted(scores, key=lambda number: (-scores[number], number))
    count = min(len(ranked) // 2, math.ceil(tune.pbt.quantile * len(ranked)))
    if trial.number not in ranked[len(ranked) - count :]:
        return None
    number = int(np.random.default_rng((seed, trial.number, trial.step)).choice(ranked[:count]))
    return next(other for other in trials if other.number == number)


def explore(tune: Tune, chosen: dict[str, Any], number: int, step: int, seed: int) -> dict[str, Any]:
    """The params that a member continues with: the ones it takes over, each drawn again or moved a little within its bounds."""
    draw = np.random.default_rng((seed, number, step, 1))
    fresh = suggest(tune.model_copy(update={"algorithm": "random"}), [], int(draw.integers(2**31)))
    moved: dict[str, Any] = {}
    for key in ordered(tune.space):
        domain = tune.space[key]
        if not holds(domain, moved):
            continue
        moved[key] = chosen.get(key, fresh.get(key, domain.ends[0]))
        if draw.random() < tune.pbt.resample:
            moved[key] = fresh.get(key, moved[key])
        elif not isinstance(domain, Choice):
            value = min(max(moved[key] * float(draw.choice(SHIFTS)), domain.ends[0]), domain.ends[1])
            moved[key] = round(value) if isinstance(domain, Integer) else value
        else:
            near = domain.choice.index(moved[key]) + int(draw.choice((-1, 1)))
            moved[key] = domain.choice[min(max(near, 0), len(domain.choice) - 1)]
    return {key: moved[key] for key in tune.space if key in moved}
