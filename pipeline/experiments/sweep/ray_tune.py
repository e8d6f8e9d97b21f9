"""Between a sweep's decisions (pipeline/experiments/sweep/algorithms.py) and Ray Tune: a searcher and a scheduler over one ledger."""

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
"""What is kept of a validation."""


def choose(params: Params, config: Mapping[str, Any]) -> Params:
    """The params of a trial. Raises ConfigError for values that cannot be used together."""
    return trial_params(params, params.tune.steps, config["chosen"])


def folder_of(number: int) -> str:
    """The folder of a trial's checkpoints in that of the sweep."""
    return f"trial-{number}"


class SweepController:
    """Takes what happens into the ledger, and says what is to happen. The ledger is written before anything follows from it."""

    def __init__(self, params: Params, ledger: Ledger) -> None:
        self.params, self.ledger = params, ledger
        self.again = [entry for entry in ledger.trials if entry.state == "running"]
        """What was running when the sweep was stopped: it goes on first."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Nothing: Tune keeps a copy for a restore of its own, which is never asked for."""
        return object, ()

    @property
    def tune(self) -> Tune:
        """The sweep of params.yaml."""
        return self.params.tune

    @property
    def over(self) -> bool:
        """Whether the time or the steps of the whole sweep are used up."""
        bounds = ((self.tune.seconds, self.ledger.elapsed), (self.tune.total_steps, self.ledger.steps))
        return any(bound and used >= bound for bound, used in bounds)

    @property
    def finished(self) -> bool:
        """Whether nothing is to be started any more."""
        if self.again:
            return False
        members = self.tune.algorithm == "pbt" and any(entry.state in OPEN for entry in self.ledger.trials)
        return self.over or (len(self.ledger.trials) >= self.tune.trials and not members)

    def next(self) -> dict[str, Any] | str | None:
        """What Ray Tune starts next, None while it must wait, or ``Searcher.FINISHED``."""
        if self.again:
            return self._config(self.again.pop(0))
        if self.finished:
            return str(Searcher.FINISHED)
        if len(self.ledger.trials) < self.tune.trials:
            return self._begin()
        entry = next_stretch(self.tune, self.ledger.trials)
        return self._stretch(entry) if entry else None

    def _begin(self) -> dict[str, Any]:
        """A new trial."""
        entry = SweepTrial(len(self.ledger.trials), suggest(self.tune, self.ledger.trials, self.params.seed))
        entry.until = min(self.tune.pbt.every, self.tune.steps) if self.tune.algorithm == "pbt" else 0
        if "gflop" in self.tune.objectives:
            try:
                entry.gflop = round(cost(choose(self.params, {"chosen": entry.chosen}).network).gflop, 6)
            except RdmcError:
                entry.gflop = None  # the trial fails of it, and says so
        self.ledger.trials.append(entry)
        self.ledger.save()
        return self._config(entry)

    def _stretch(self, entry: SweepTrial) -> dict[str, Any]:
        """The next stretch of a member: from its own weights, or from those of a better one with other params."""
        seed = self.params.seed
        if source := donor(self.tune, entry, self.ledger.trials, seed):
            entry.chosen = explore(self.tune, source.chosen, entry.number, entry.step, seed)
            entry.generation, entry.parent = entry.generation + 1, source.number
        entry.begun, entry.until, entry.state = entry.step, min(entry.step + self.tune.pbt.every, self.tune.steps), "running"
        self.ledger.save()
        return self._config(entry)

    def _config(self, entry: SweepTrial) -> dict[str, Any]:
        """What a trial is told."""
        copied = entry.parent is not None
        start = f"{folder_of(int(entry.parent or 0))}/{checkpoint_name(entry.begun)}" if copied else ""
        told = {"begun": entry.begun, "until": entry.until, "generation": entry.generation, "start": start}
        return {"trial": str(entry.number), "chosen": entry.chosen, **told}

    def report(self, number: int, result: Mapping[str, Any]) -> bool:
        """Take a validation in; whether the trial may go on."""
        entry = self.ledger.trials[number]
        if "failure" in result:
            self.ended(number, str(result["failure"]))
            return True
        if "psnr_y" not in result:
            return True
        again = entry.rows and entry.step == int(result["step"])  # told once more after a kill; it passed its rung then
        entry.note({name: float(result[name]) for name in FIGURES if name in result})
        spared = again or self.tune.algorithm == "pbt"
        stays = entry.step >= self.tune.steps or (not self.over and (spared or goes_on(self.tune, entry, self.ledger.trials)))
        if not stays:
            entry.state = "stopped early"
        self.ledger.save()
        return stays

    def ended(self, number: int, cause: str = "") -> SweepTrial:
        """A trial is over: of itself, stopped before, or failed of ``cause``."""
        entry = self.ledger.trials[number]
        if entry.state == "running":
            whole = entry.step >= self.tune.steps
            paused = 0 < entry.until <= entry.step
            entry.state = "failed" if cause else "finished" if whole else "waiting" if paused else "failed"
            entry.cause = cause or ("" if entry.state != "failed" else "ended before its last step")
            self.ledger.save()
        return entry

    def close(self) -> None:
        """No trial goes on any more: one without a last state was cut short by the sweep's bounds."""
        for entry in self.ledger.trials:
            if entry.state in OPEN:
                entry.state = "stopped early" if entry.rows else "failed"
                entry.cause = "" if entry.rows else "the sweep's bounds were reached before its first validation"
        self.ledger.save()


class LedgerSearcher(Searcher):
    """Ray Tune's searcher: asks the controller."""

    def __init__(self, controller: SweepController) -> None:
        super().__init__(metric="psnr_y", mode="max")
        self.controller = controller

    def suggest(self, trial_id: str) -> Any:
        """What is to be started."""
        return self.controller.next()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the ledger has it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""


class LedgerScheduler(FIFOScheduler):
    """Ray Tune's scheduler: passes validations to the controller, and stops what may not go on."""

    def __init__(self, controller: SweepController) -> None:
        super().__init__()
        self.controller = controller

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """CONTINUE or STOP."""
        stays = self.controller.report(int(trial.config["trial"]), result)
        return str(self.CONTINUE if stays else self.STOP)
