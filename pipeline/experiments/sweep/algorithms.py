"""What a sweep does next, decided from its ledger alone: which params to try, which trial to stop, who learns from whom.

Nothing here holds a state or knows Ray: a search that goes on after a kill decides as it would have without. Sources:
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
"""What a member multiplies a number by that it takes over and moves."""
FIXED = ("seed", "datasets", "architecture", "network")
FIXED_LOSS = ("prior", "features", "levels", "projection", "vgg19_weights", "vgg19_sha256")
FIXED_TRAIN = ("steps", "warmup_steps", "validate_every", "global_batch_size", "shuffle_shards", "crops_per_decode")


def changes_weights(key: str) -> bool:
    """Whether a param cannot change in the middle of a training, since weights, data or steps depend on it."""
    part, _, rest = key.partition(".")
    return part in FIXED or (part == "loss" and rest in FIXED_LOSS) or (part == "train" and rest.split(".")[0] in FIXED_TRAIN)


def distribution(domain: Choice | Uniform | LogUniform | Integer) -> BaseDistribution:
    """A domain as Optuna has it."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.choice)
    if isinstance(domain, Integer):
        return IntDistribution(*domain.integer)
    if isinstance(domain, LogUniform):
        return FloatDistribution(*domain.loguniform, log=True)
    return FloatDistribution(*domain.uniform)


def study_of(tune: Tune, entries: Sequence[SweepTrial], sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    """The trials that ended with a score, as an Optuna study in memory; those stopped early count as pruned.

    Of two objectives Optuna knows no pruning: there every trial counts with its last score.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    several = len(tune.objectives) > 1
    study = optuna.create_study(directions=["maximize", "minimize"] if several else ["maximize"], sampler=sampler)
    for entry in entries:
        if entry.score is None or entry.state in ("failed", *OPEN):
            continue
        pruned = entry.state == "stopped early" and not several
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                values=None if pruned else objectives(tune, entry, entry.score),
                params=entry.chosen,
                distributions={key: distribution(tune.space[key]) for key in entry.chosen},
                intermediate_values={} if several else {int(row["step"]): row["psnr_y"] for row in entry.rows},
            )
        )
    return study


def objectives(tune: Tune, entry: SweepTrial, score: float) -> list[float]:
    """The values of what is searched for, in the order of ``tune.objectives``."""
    known = {"psnr_y": score, "gflop": math.inf if entry.gflop is None else entry.gflop}
    return [known[name] for name in tune.objectives]


def suggest(tune: Tune, entries: Sequence[SweepTrial], seed: int) -> dict[str, Any]:
    """Values for the next trial: of every param whose condition holds. The same for the same ledger and ``seed``."""
    mixed = int(np.random.default_rng((seed, len(entries))).integers(2**31))
    samplers = {"optuna": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    sampler = samplers.get(tune.algorithm, optuna.samplers.RandomSampler)(seed=mixed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial = study_of(tune, entries, sampler).ask()
        chosen: dict[str, Any] = {}
        for key in ordered(tune.space):
            if holds(tune.space[key], chosen):
                chosen[key] = _ask(trial, key, tune.space[key])
    return {key: chosen[key] for key in tune.space if key in chosen}


def _ask(trial: optuna.Trial, key: str, domain: Choice | Uniform | LogUniform | Integer) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(key, domain.choice)
    if isinstance(domain, Integer):
        return trial.suggest_int(key, *domain.integer)
    return trial.suggest_float(key, *domain.ends, log=isinstance(domain, LogUniform))


def rung(tune: Tune, before: int, step: int) -> int:
    """The highest rung of successive halving that lies above ``before`` and not above ``step``; 0 for none."""
    reached, place = 0, tune.grace_steps
    while place <= min(step, tune.steps - 1):
        reached = place if place > before else reached
        place *= tune.reduction
    return reached


def goes_on(tune: Tune, entry: SweepTrial, entries: Sequence[SweepTrial]) -> bool:
    """Whether a trial that has just reported may go on: at a rung only with the best one in ``tune.reduction`` so far.

    A trial's rank is the number of trials that are better than it in every objective where they differ; each counts with its
    first validation at or after the rung.
    """
    at = rung(tune, int(entry.rows[-2]["step"]) if len(entry.rows) > 1 else 0, entry.step)
    if not at:
        return True
    own = _at(tune, entry, at)
    others = [found for other in entries if other.number != entry.number and (found := _at(tune, other, at)) is not None]
    better = sum(dominates(other, own) for other in others if own is not None)
    return better < (len(others) + 1) / tune.reduction


def _at(tune: Tune, entry: SweepTrial, step: int) -> list[float] | None:
    score = next((row["psnr_y"] for row in entry.rows if row["step"] >= step), None)
    return None if score is None else objectives(tune, entry, score)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether ``one`` is at least as good in all and better in one objective; PSNR-Y comes first, less of a cost is better."""
    pairs = [(one[0], other[0]), *((-a, -b) for a, b in zip(one[1:], other[1:], strict=True))]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def front(tune: Tune, entries: Sequence[SweepTrial]) -> list[SweepTrial]:
    """The trials that none dominates, the best PSNR-Y first; of one objective the best trial and those equal to it."""
    scored = [(entry, objectives(tune, entry, entry.score)) for entry in entries if entry.score is not None]
    scored = [(entry, values) for entry, values in scored if entry.state != "failed"]
    found = [entry for entry, values in scored if not any(dominates(other, values) for _, other in scored)]
    return sorted(found, key=lambda entry: -(entry.score or 0.0))


def next_stretch(tune: Tune, entries: Sequence[SweepTrial]) -> SweepTrial | None:
    """The member of a population that goes on next, or None while it must wait: nobody is a whole stretch ahead."""
    alive = [entry for entry in entries if entry.state in OPEN]
    behind = min((entry.step if entry.state == "waiting" else entry.until - 1 for entry in alive), default=0)
    return next((entry for entry in alive if entry.state == "waiting" and entry.step <= behind), None)


def donor(tune: Tune, entry: SweepTrial, entries: Sequence[SweepTrial], seed: int) -> SweepTrial | None:
    """Whom a waiting member takes over from: one of the best, where it is among the worst at its step."""
    at = {other.number: _at(tune, other, entry.step) for other in entries if other.state in (*OPEN, "finished")}
    scores = {number: found[0] for number, found in at.items() if found is not None}
    ranked = sorted(scores, key=lambda number: (-scores[number], number))
    count = min(len(ranked) // 2, math.ceil(tune.pbt.quantile * len(ranked)))
    if entry.number not in ranked[len(ranked) - count :]:
        return None
    number = int(np.random.default_rng((seed, entry.number, entry.step)).choice(ranked[:count]))
    return next(other for other in entries if other.number == number)


def explore(tune: Tune, chosen: dict[str, Any], number: int, step: int, seed: int) -> dict[str, Any]:
    """The params that a member goes on with: those that it takes over, each drawn anew or moved a little within its bounds."""
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
