"""``tune``: a sweep of short trainings (pipeline/experiments/trials.py). It survives a kill: its whole state is its ledger."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from ray import tune

from pipeline.cluster import cluster, require_resources, workers
from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import flatten, with_architecture
from pipeline.config.settings import Settings
from pipeline.config.tune import Tune, example
from pipeline.console import say, table
from pipeline.experiments.mlflow_callback import FIGURES, METRIC, TrialRuns
from pipeline.experiments.sweep.algorithms import changes_weights, front
from pipeline.experiments.sweep.ledger import PREFIX, Ledger, SweepTrial, check_same, stopped, unfinished
from pipeline.experiments.sweep.plots import pictures
from pipeline.experiments.sweep.ray_tune import LedgerScheduler, LedgerSearcher, SweepController, choose
from pipeline.experiments.sweep.table import best_params_yaml, command, lines, rows, trials_csv
from pipeline.experiments.trials import cause, forget_trials, run_trials
from pipeline.registry.publish import attach_files
from pipeline.storage.datasets import open_pairs, with_digests
from pipeline.storage.lease import leased
from pipeline.storage.runs import run_files
from pipeline.storage.s3 import check_bucket
from pipeline.tracking.run_info import TRAINED, only, run_tags, run_title
from pipeline.tracking.tracker import LAST, Tracker
from pipeline.versioning.git import git_commit
from pipeline.versioning.lineage import code_digest
from rdmc.data.images import write_png
from rdmc.data.sampling import local_batch_size
from rdmc.errors import ConfigError, TrainingError
from rdmc.files import write_text

SEARCHED = ("network", "loss", "train")


def run(project: Project[Params], resume: bool = False, sweep: str = "") -> None:
    """Search ``params.tune.space`` and write the best overrides, a table of all trials and pictures of them.

    ``resume`` resumes a sweep that was stopped or killed, the newest one or ``sweep``, with its trials, their checkpoints and
    their MLflow runs. The bounds on its cost may have changed since. A trial has one worker unless the settings say otherwise.

    Raises, before anything starts, ConfigError for a space, bounds or a sweep that cannot be used and DataError where there
    are no pairs to train on or to score on; TrainingError where every trial failed.
    """
    project = project.with_params(with_architecture(project.params)).with_workers(project.settings.workers or 1)
    params, settings, paths = project.params, project.settings, project.paths
    check_space(params, settings.workers)
    check_bucket(settings)
    project = with_digests(project)
    data, _ = (open_pairs(project, split).digest for split in ("train", "validation"))
    ledger = _resumed(project, data, sweep) if resume or sweep else _new(project, data)
    commit = git_commit() or "unknown"
    about = f"Sweep `{ledger.name}`: {params.tune.algorithm} over {', '.join(params.tune.space)}. Its trials are below it."
    tags = {"git_commit": commit, "stage": "tune", "sweep": ledger.name, **run_tags("tune", about, commit)}
    title = run_title(params.network.kind, params.network.width, list(params.datasets), "sweep")
    shown = only(flatten(params), (*TRAINED, "tune"))
    concurrent = min(params.tune.concurrent, params.tune.trials)
    with cluster(settings, trials=concurrent), leased(ledger.place):
        require_resources(settings, concurrent)
        ledger.save()  # first, so that a kill before the next save loses nothing: the run is then found by its tags
        same = ("sweep", "stage")
        with (
            _resumable(ledger.name),
            Tracker.start(settings, title, shown, tags, run_id=ledger.run_id, same=same) as parent,
        ):
            ledger.run_id = parent.run_id
            best, runs = _search(project, ledger, parent.run_id)
            score = {f"best_{METRIC}": float(best.score or 0)} if best else {}
            parent.conclude({**score, "trials": len(ledger.trials), "seconds": ledger.elapsed}, 0)
            attach_files(settings, parent.run_id, [paths.trials, paths.best_params, *sorted(paths.sweep.glob("*.png"))])
            parent.finish("FINISHED" if best else "FAILED", LAST if parent.run_id else 0.0)
    if parent.sent and runs.sent:
        forget_trials(project, ledger.name)
    else:
        say(f"MLflow does not have all of {ledger.name}; when it answers, `python -m pipeline tune --resume` sends the rest")
    if not best:
        raise TrainingError(f"{ledger.name}: none of {len(ledger.trials)} trials has a {METRIC}; trials.csv has the causes")


@contextmanager
def _resumable(name: str) -> Iterator[None]:
    """Say how to resume the sweep where the block is stopped."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"`python -m pipeline tune --resume` resumes {name}")
        raise


def _search(project: Project[Params], ledger: Ledger, parent: str | None) -> tuple[SweepTrial | None, SweepRuns]:
    """Run the rest of the sweep and return its best trial; files and tables are written before MLflow has everything."""
    params, settings = project.params, project.settings
    controller, concurrent = SweepController(params, ledger), min(params.tune.concurrent, params.tune.trials)
    with SweepRuns(controller, settings, parent) as runs:
        say(f"tune: {params.tune.trials} trials, {concurrent} at once, {workers(settings)} workers each, {ledger.name}")
        rules = tune.TuneConfig(
            search_alg=LedgerSearcher(controller),
            scheduler=LedgerScheduler(controller),
            num_samples=-1,
            max_concurrent_trials=concurrent,
        )
        if not controller.finished:  # a resumed sweep may have been killed after its last trial
            run_trials(project, choose, ledger.name, {}, rules, runs)
        controller.close()
        runs.settle()
        best = _write(params.tune, ledger, project.paths)
    ledger.save()  # with the runs that MLflow now has
    return best, runs


def _new(project: Project[Params], data: str) -> Ledger:
    if names := unfinished(project):
        say(f"tune: this is a new sweep; --resume --sweep NAME resumes a stopped one: {', '.join(names)}")
    name = f"{PREFIX}{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    return Ledger(name, _plain(project.params), data, code_digest(), run_files(project, name))


def _resumed(project: Project[Params], data: str, sweep: str) -> Ledger:
    ledger = stopped(project, sweep)
    check_same(ledger, _plain(project.params), data, code_digest())
    ended = sum(trial.state in ("finished", "stopped early", "failed") for trial in ledger.trials)
    say(f"tune: {ledger.name} resumes after {ledger.elapsed:.0f} s, {ended} of {project.params.tune.trials} trials have ended")
    return ledger


def _plain(params: Params) -> dict[str, Any]:
    return params.model_dump(mode="json", by_alias=True)


def check_space(params: Params, workers: int) -> None:
    """Check every value of a list and both ends of a range, each with values that meet its condition.

    Raises ConfigError that names the param, the value and the rule.
    """
    space = params.tune.space
    for key, domain in space.items():
        if key.split(".")[0] not in SEARCHED or key == "train.steps":
            raise ConfigError(
                f"tune.space.{key}: a sweep searches params of {', '.join(SEARCHED)} (except train.steps); drop this one"
            )
        for value in domain.ends:
            chosen = choose(params, {"chosen": example(key, value, space)})
            local_batch_size(chosen.train.global_batch_size, workers)
    if params.tune.algorithm == "pbt":
        _check_population(params, workers)


def _check_population(params: Params, workers: int) -> None:
    rules = params.tune
    if fixed := [key for key in rules.space if changes_weights(key)]:
        raise ConfigError(
            f"tune.space.{fixed[0]}: cannot change in the middle of a training, as pbt would; drop it, or use optuna"
        )
    if rules.pbt.every % params.train.validate_every:
        raise ConfigError(
            f"tune.pbt.every: {rules.pbt.every} is no multiple of train.validate_every, {params.train.validate_every}; fix one"
        )
    if (weight := rules.space.get("loss.contrastive")) and min(weight.ends) <= 0 < max(weight.ends):
        raise ConfigError(
            "tune.space.loss.contrastive: pbt cannot switch the contrastive prior on or off in a training; leave 0 out of it"
        )
    if rules.trials < 2 or rules.objectives != ["psnr_y"]:
        raise ConfigError("tune.algorithm: pbt needs two trials or more and psnr_y alone; fix these or use optuna")
    if workers > 1:
        raise ConfigError(f"RDMC_WORKERS: pbt trains members of one worker each, not {workers}; set RDMC_WORKERS=1")


class SweepRuns(TrialRuns):
    """One MLflow run per trial, over all sessions of the sweep; tells the controller how trials end."""

    def __init__(self, controller: SweepController, settings: Settings, parent: str | None) -> None:
        super().__init__(choose, controller.params, settings, parent)
        self.controller, self.ledger = controller, controller.ledger

    def tracker(self, trial: Any) -> Tracker:
        """A tracker for a trial's run: a new run, or that of an earlier session, which gets the validations that it lacks."""
        record = self._record(trial)
        about = run_tags("tune", f"Trial {trial.config['trial']} of the sweep `{self.ledger.name}`.")
        tags = {"stage": "trial", "sweep": self.ledger.name, "trial": trial.config["trial"], **about}
        tracker = Tracker.start(
            self.settings, self.title(trial), self.params_of(trial.config), tags, parent_run_id=self.parent,
            run_id=record.run_id, same=("sweep", "trial"),
        )  # fmt: skip
        record.run_id = tracker.run_id  # the next save writes it; a run whose id is lost is found by its tags
        if self.ledger.resumed:
            tracker.complete([{name: row[name] for name in ("step", *FIGURES) if name in row} for row in record.rows])
        return tracker

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's run; for a member that took over another's weights, log its new params."""
        super().on_trial_start(iteration, trials, trial, **info)
        record = self._record(trial)
        if record.generation:
            numbers = {f"now/{key}": float(v) for key, v in record.chosen.items() if isinstance(v, int | float)}
            self.log(trial, {**numbers, "generation": record.generation}, record.begun)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run, unless a population's member has only reached the end of a stretch."""
        if self.controller.ended(int(trial.config["trial"])).state != "waiting":
            self.close(trial, status(self._record(trial)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run of a trial whose process died too often."""
        error = trial.get_pickled_error()
        self.controller.ended(int(trial.config["trial"]), cause(error) if error else "its process died")
        self.close(trial, status(self._record(trial)))

    def settle(self) -> None:
        """End the runs that are still open: of trials that ended before this session, or that never started."""
        for record in self.ledger.trials:
            if not record.closed:
                self.close(SimpleNamespace(config={"trial": str(record.number), "chosen": record.chosen}), status(record))

    def _close(self, tracker: Tracker, key: str, status: str, patience: float = 0.0) -> None:
        if key not in self.closed or not tracker.sent:
            super()._close(tracker, key, status, patience)
            self.ledger.trials[int(key)].closed = tracker.sent and status != "KILLED"  # a killed trial may resume

    @property
    def sent(self) -> bool:
        """Whether MLflow has the final state of every run."""
        return all(record.closed for record in self.ledger.trials)

    def _record(self, trial: Any) -> SweepTrial:
        return self.ledger.trials[int(trial.config["trial"])]


def status(trial: SweepTrial) -> str:
    """MLflow's status for a trial that has ended."""
    return "FAILED" if trial.state == "failed" else "FINISHED"


def _write(rules: Tune, ledger: Ledger, paths: Paths) -> SweepTrial | None:
    """Replace an earlier sweep's files by this one's and show its table; return the best trial, or None if all failed."""
    trials = ledger.trials
    shutil.rmtree(paths.sweep, ignore_errors=True)
    paths.best_params.unlink(missing_ok=True)
    write_text(paths.trials, trials_csv(rows(rules, trials)))
    for trial in trials:
        if trial.cause:
            say(f"trial {trial.number} failed: {trial.cause}")
    best = front(rules, trials)
    if not best:
        return None
    write_text(paths.best_params, best_params_yaml(best[0].chosen))
    for name, picture in pictures(rules, trials).items():
        write_png(paths.sweep / name, picture)
    table("trials, best first", *lines(rules, trials))
    say(f"best params are in best_params.yaml; train with them: {command(best[0].chosen)}")
    return best[0]
