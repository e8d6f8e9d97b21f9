"""``tune``: a sweep of short trainings; the only home of ray.tune. A trial is params with overrides, plus ``launch``."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray.train
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from ruamel.yaml import YAML

from pipeline.console import say, table
from pipeline.distributed import cluster, forget, launch, root_cause, workers
from pipeline.lineage import git_commit
from pipeline.params import Choice, LogUniform, Params, Uniform, flatten, parse_params, with_overrides
from pipeline.settings import Settings
from pipeline.storage import check_bucket, fetch_dataset, ray_storage, shard_fetch
from pipeline.tracking import Tracker
from pipeline.workspace import Workspace
from rdmc.data.loader import PairStore
from rdmc.errors import TrainingError
from rdmc.files import write_text

METRIC = "psnr_y"


def run(params: Params, settings: Settings, workspace: Workspace) -> None:
    """Search ``params.tune.space`` and write the best overrides and a table of all trials.

    Raises, before anything starts, ConfigError for a space with a value that cannot be used and DataError where there is
    nothing to train or to score on; TrainingError where every trial failed.
    """
    name = f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    check_space(params)
    check_bucket(settings)
    folders = [fetch_dataset(settings, workspace, dataset) for dataset in params.datasets]
    for split in ("train", "validation"):
        PairStore(folders, split, fetch=shard_fetch(settings, workspace))
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the act, and its runs as stopped
    tags = {"git_commit": git_commit() or "unknown", "stage": "tune"}
    with (
        cluster(settings, trials=params.tune.concurrent),
        Tracker.start(settings, name, flatten(params), tags) as parent,
        Children(params, settings, parent.run_id) as children,
    ):
        say(f"tune: {params.tune.trials} trials, {params.tune.concurrent} at once, {workers(settings)} workers each")
        results = _tuner(params, settings, workspace, name, children).fit()
        rows = [_row(result, params) for result in list(results)]
        write_text(workspace.trials, trials_csv(rows))
        for row in rows:
            if "cause" in row:
                say(f"trial {row['trial']} failed: {row['cause']}")
        scored = [row for row in rows if METRIC in row]
        if not scored:
            raise TrainingError(f"{name}: no trial of {len(rows)} ended with a {METRIC}; trials.csv says what they died of")
        best = max(scored, key=lambda row: float(row[METRIC]))
        parent.log({f"best_{METRIC}": float(best[METRIC])}, 0)
    overrides = {key: best[key] for key in params.tune.space}
    write_text(workspace.best_params, best_params_yaml(overrides))
    _summary(rows, overrides)
    for finished in (*(f"trial-{trial}" for trial in children.trackers), name):
        forget(settings, workspace, finished)


def check_space(params: Params) -> None:
    """Try every value of a list and both ends of a range. Raises ConfigError that names the param and the value."""
    for key, domain in params.tune.space.items():
        for value in _values(domain):
            trial_params(params, {key: value})


def trial_params(params: Params, overrides: dict[str, Any]) -> Params:
    """The params of one trial: the sweep's number of steps, then the overrides. Raises ConfigError for a bad one."""
    steps = params.tune.steps
    short = {"train.steps": steps, "train.warmup_steps": min(params.train.warmup_steps, steps // 10)}
    return with_overrides(params, {**short, **overrides})


def _tuner(params: Params, settings: Settings, workspace: Workspace, name: str, children: Children) -> tune.Tuner:
    path, filesystem = ray_storage(settings, workspace)
    for logger in ("optuna", "ray.tune"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    trial = tune.with_parameters(
        _trial,
        params=params.model_dump(mode="json", by_alias=True),
        settings=settings.model_dump(),
        root=str(workspace.root.absolute()),
        folder=str(Path.cwd()),
    )
    return tune.Tuner(
        tune.with_resources(trial, {"CPU": 0.01}),  # the workers ask for theirs themselves
        param_space={key: _domain(domain) for key, domain in params.tune.space.items()},
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=params.tune.trials,
            max_concurrent_trials=params.tune.concurrent,
            search_alg=OptunaSearch(seed=params.seed),
            scheduler=ASHAScheduler(
                time_attr="step",
                max_t=params.tune.steps,
                grace_period=params.tune.grace_steps,
                reduction_factor=params.tune.reduction,
            ),
        ),
        run_config=tune.RunConfig(name=name, storage_path=path, storage_filesystem=filesystem, callbacks=[children], verbose=0),
    )


class Validations(TuneReportCallback):
    """Passes validations on to Tune, and not the reports between them, which have no score."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: ray.train.Checkpoint | None) -> None:
        """Called on Ray Train's controller with every report of all ranks."""
        if METRIC in metrics[0]:
            super().after_report(run_context, metrics, checkpoint)


def _trial(overrides: dict[str, Any], params: dict[str, Any], settings: dict[str, Any], root: str, folder: str) -> None:
    """One trial, on the cluster: its own training run, its validations reported to Tune."""
    os.chdir(folder)  # where the sweep was started: Tune moves a trial into a folder of its own, dvc.lock lies in this one
    chosen = trial_params(parse_params(params, "params"), overrides)
    name = tune.get_context().get_trial_id()
    launch(chosen, Settings(**settings), Workspace(Path(root)), f"trial-{name}", lambda row: None, [Validations()])


class Children(tune.Callback):
    """One MLflow run a trial, under the sweep's; kept by the driver, so that trials know nothing of MLflow.

    As a context manager it ends the runs of trials that were cut short.
    """

    def __init__(self, params: Params, settings: Settings, parent: str | None) -> None:
        self.params, self.settings, self.parent = params, settings, parent
        self.trackers: dict[str, Tracker] = {}
        self.closed: set[str] = set()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for trial in self.trackers.keys() - self.closed:
            self._close(trial, "KILLED")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's run, once: a trial that is restarted keeps it."""
        if trial.trial_id not in self.trackers:
            chosen = flatten(trial_params(self.params, trial.config))
            self.trackers[trial.trial_id] = Tracker.start(
                self.settings, f"trial-{trial.trial_id}", chosen, {"stage": "trial"}, parent_run_id=self.parent
            )

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Log a validation and say it."""
        figures = {key: float(result[key]) for key in ("loss", "lr", METRIC, "ssim_y", "images_per_second") if key in result}
        self.trackers[trial.trial_id].log(figures, int(result["step"]))
        say(f"trial {trial.trial_id}  step {result['step']}  PSNR-Y {result[METRIC]:.2f} dB")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run of a trial that ended or was stopped early."""
        self._close(trial.trial_id, "FINISHED")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run of a trial that failed."""
        if trial.trial_id in self.trackers:
            self._close(trial.trial_id, "FAILED")

    def _close(self, trial: str, status: str) -> None:
        self.trackers[trial].finish(status)
        self.closed.add(trial)


def _domain(domain: Choice | Uniform | LogUniform) -> Any:
    if isinstance(domain, Choice):
        return tune.choice(domain.choice)
    return tune.uniform(*domain.uniform) if isinstance(domain, Uniform) else tune.loguniform(*domain.loguniform)


def _values(domain: Choice | Uniform | LogUniform) -> Sequence[Any]:
    """Every value of a list, or the two ends of a range."""
    if isinstance(domain, Choice):
        return domain.choice
    return domain.uniform if isinstance(domain, Uniform) else domain.loguniform


def _row(result: Any, params: Params) -> dict[str, Any]:
    """A trial in the table: its overrides, its last score, its steps, how it ended and, where it failed, of what."""
    metrics = result.metrics or {}
    chosen = {key: result.config[key] for key in params.tune.space}
    scores = {METRIC: metrics[METRIC], "step": metrics["step"]} if METRIC in metrics else {}
    ended = "finished" if scores.get("step") == params.tune.steps else "stopped early"
    row = {"trial": metrics.get("trial_id", ""), **chosen, **scores, "state": "failed" if result.error else ended}
    if not result.error:
        return row
    cause = root_cause(result.error) if isinstance(result.error, BaseException) else result.error
    return {**row, "cause": " ".join(str(cause).split())}


def best_params_yaml(overrides: dict[str, Any]) -> str:
    """The overrides as the nested YAML they are in params.yaml."""
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(nested, text)
    return text.getvalue()


def trials_csv(rows: list[dict[str, Any]]) -> str:
    """A line per trial."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _summary(rows: list[dict[str, Any]], overrides: dict[str, Any]) -> None:
    ranked = sorted(rows, key=lambda row: -float(row.get(METRIC, 0)))
    keys = list(overrides)
    table(
        "trials, best first",
        ["trial", *keys, "PSNR-Y (dB)", "steps", "state"],
        [
            [
                row["trial"],
                *(f"{row[key]:.3g}" if isinstance(row[key], float) else str(row[key]) for key in keys),
                f"{row[METRIC]:.2f}" if METRIC in row else "-",
                str(row.get("step", "-")),
                row["state"],
            ]
            for row in ranked
        ],
    )
    flags = " ".join(f"-S {key}={value}" for key, value in overrides.items())
    say(f"best params are in best_params.yaml; train with them: dvc exp run {flags}")
