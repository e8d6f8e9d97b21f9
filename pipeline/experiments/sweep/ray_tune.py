"""Connects a sweep's decisions (pipeline/experiments/sweep/algorithms.py) to Ray Tune.

A searcher and a scheduler of Ray Tune share one controller, which works on the sweep's ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from pipeline.config.params import Params
from pipeline.config.recipe import trial_params
from pipeline.config.tune import Tune
from pipeline.experiments.sweep.algorithms import donor, explore, goes_on, next_stretch, suggest
from pipeline.experiments.sweep.ledger import OPEN, Ledger, SweepTrial
from pipeline.training.in_process import checkpoint_name
from rdmc.errors import RdmcError
from rdmc.models.cost import cost

FIGURES = ("step", "loss", "lr", "psnr_y", "ssim_y", "images_per_second", "step_seconds")
"""The figures of a validation that the ledger keeps."""


def choose(params: Params, config: Mapping[str, Any]) -> Params:
    """The params of a trial. Raises ConfigError for values that cannot be used together."""
    return trial_params(params, params.tune.steps, config["chosen"])


def folder_of(number: int) -> str:
    """The name of a trial's checkpoint folder inside the sweep's folder."""
    return f"trial-{number}"


class SweepController:
    """Records events in the ledger and decides what runs next. It saves the ledger before a decision takes effect."""

    def __init__(self, params: Params, ledger: Ledger) -> None:
        self.params, self.ledger = params, ledger
        self.again = [trial for trial in ledger.trials if trial.state == "running"]
        """The trials that were running when the sweep was stopped; they are started first."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to an empty object: Tune stores a copy for its own restore, which is never used."""
        return object, ()

    @property
    def tune(self) -> Tune:
        """The sweep of params.yaml."""
        return self.params.tune

    @property
    def over(self) -> bool:
        """Whether the sweep has used up its bound on time or steps."""
        bounds = ((self.tune.seconds, self.ledger.elapsed), (self.tune.total_steps, self.ledger.steps))
        return any(bound and used >= bound for bound, used in bounds)

    @property
    def finished(self) -> bool:
        """Whether no trial will be started any more."""
        if self.again:
            return False
        members = self.tune.algorithm == "pbt" and any(trial.state in OPEN for trial in self.ledger.trials)
        return self.over or (len(self.ledger.trials) >= self.tune.trials and not members)

    def next(self) -> dict[str, Any] | str | None:
        """The configuration that Ray Tune starts next, None while it must wait, or ``Searcher.FINISHED``."""
        if self.again:
            return self._config(self.again.pop(0))
        if self.finished:
            return str(Searcher.FINISHED)
        if len(self.ledger.trials) < self.tune.trials:
            return self._begin()
        trial = next_stretch(self.tune, self.ledger.trials)
        return self._stretch(trial) if trial else None

    def _begin(self) -> dict[str, Any]:
        """Add a new trial to the ledger and return its configuration."""
        trial = SweepTrial(len(self.ledger.trials), suggest(self.tune, self.ledger.trials, self.params.seed))
        trial.until = min(self.tune.pbt.every, self.tune.steps) if self.tune.algorithm == "pbt" else 0
        if "gflop" in self.tune.objectives:
            try:
                trial.gflop = round(cost(choose(self.params, {"chosen": trial.chosen}).network).gflop, 6)
            except RdmcError:
                trial.gflop = None  # the trial fails with the same error and reports it
        self.ledger.trials.append(trial)
        self.ledger.save()
        return self._config(trial)

    def _stretch(self, trial: SweepTrial) -> dict[str, Any]:
        """Start a member's next stretch, from its own weights, or from a better member's weights with changed params."""
        seed = self.params.seed
        if source := donor(self.tune, trial, self.ledger.trials, seed):
            trial.chosen = explore(self.tune, source.chosen, trial.number, trial.step, seed)
            trial.generation, trial.parent = trial.generation + 1, source.number
        trial.begun, trial.until, trial.state = trial.step, min(trial.step + self.tune.pbt.every, self.tune.steps), "running"
        self.ledger.save()
        return self._config(trial)

    def _config(self, trial: SweepTrial) -> dict[str, Any]:
        """The configuration that a trial gets from Ray Tune."""
        copied = trial.parent is not None
        start = f"{folder_of(int(trial.parent or 0))}/{checkpoint_name(trial.begun)}" if copied else ""
        stretch = {"begun": trial.begun, "until": trial.until, "generation": trial.generation, "start": start}
        return {"trial": str(trial.number), "chosen": trial.chosen, **stretch}

    def report(self, number: int, result: Mapping[str, Any]) -> bool:
        """Record a validation and return whether the trial may continue."""
        trial = self.ledger.trials[number]
        if "failure" in result:
            self.ended(number, str(result["failure"]))
            return True
        if "psnr_y" not in result:
            return True
        again = trial.rows and trial.step == int(result["step"])  # repeated after a kill; it passed its rung the first time
        trial.note({name: float(result[name]) for name in FIGURES if name in result})
        spared = again or self.tune.algorithm == "pbt"
        stays = trial.step >= self.tune.steps or (not self.over and (spared or goes_on(self.tune, trial, self.ledger.trials)))
        if not stays:
            trial.state = "stopped early"
        self.ledger.save()
        return stays

    def ended(self, number: int, cause: str = "") -> SweepTrial:
        """Record that a trial has ended, by itself, because it was stopped, or with an error ``cause``; return the trial."""
        trial = self.ledger.trials[number]
        if trial.state == "running":
            whole = trial.step >= self.tune.steps
            paused = 0 < trial.until <= trial.step
            trial.state = "failed" if cause else "finished" if whole else "waiting" if paused else "failed"
            trial.cause = cause or ("" if trial.state != "failed" else "ended before its last step")
            self.ledger.save()
        return trial

    def close(self) -> None:
        """End the sweep: every trial without a final state was cut short by the sweep's bounds."""
        for trial in self.ledger.trials:
            if trial.state in OPEN:
                trial.state = "stopped early" if trial.rows else "failed"
                trial.cause = "" if trial.rows else "the sweep's bounds were reached before its first validation"
        self.ledger.save()


class LedgerSearcher(Searcher):
    """A searcher for Ray Tune that asks the controller for trials."""

    def __init__(self, controller: SweepController) -> None:
        super().__init__(metric="psnr_y", mode="max")
        self.controller = controller

    def suggest(self, trial_id: str) -> Any:
        """The next trial's configuration, None while Tune must wait, or ``Searcher.FINISHED``."""
        return self.controller.next()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the ledger already has the trial's end."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the state."""


class LedgerScheduler(FIFOScheduler):
    """A scheduler for Ray Tune that passes validations to the controller and stops the trials that may not continue."""

    def __init__(self, controller: SweepController) -> None:
        super().__init__()
        self.controller = controller

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return CONTINUE or STOP, as the controller decides."""
        stays = self.controller.report(int(trial.config["trial"]), result)
        return str(self.CONTINUE if stays else self.STOP)
