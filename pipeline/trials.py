"""What a sweep and an ablation share: trials on Ray Tune, each a ``launch`` of its own params, and an MLflow run for each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from pipeline.cluster import on_gpu
from pipeline.console import say
from pipeline.distributed import Outcome, Row, launch, root_cause
from pipeline.params import Params, flatten, parse_params
from pipeline.settings import Settings
from pipeline.storage import ray_storage
from pipeline.tracking import Tracker
from pipeline.workspace import Workspace

METRIC = "psnr_y"
Config = dict[str, Any]
"""What Ray Tune chose for a trial."""
Choose = Callable[[Params, Config], Params]
"""The params of a trial, from those of params.yaml."""
Finish = Callable[[Params, Settings, Workspace, Outcome, list[Row]], Mapping[str, Any]]
"""What a trial does when it is trained, from its params, its checkpoints and its rows; plain figures for the driver."""


def run_trials(
    choose: Choose,
    params: Params,
    settings: Settings,
    workspace: Workspace,
    name: str,
    space: Config,
    rules: tune.TuneConfig,
    children: Children,
    finish: Finish | None = None,
) -> list[Any]:
    """Train what ``space`` and ``rules`` give, and return Ray Tune's result of each trial, failed ones included.

    ``choose`` and ``finish`` are functions of a module: the trials, which run elsewhere, import them.
    """
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the act, and its runs as stopped
    path, filesystem = ray_storage(settings, workspace)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # tracebacks of failed trials: the acts say what they died of
    trial = tune.with_parameters(
        _trial,
        choose=choose,
        finish=finish,
        params=params.model_dump(mode="json", by_alias=True),
        settings=settings.model_dump(),
        root=str(workspace.root.absolute()),
        folder=str(Path.cwd()),
    )
    tuner = tune.Tuner(
        tune.with_resources(trial, {"CPU": 0.01}),  # the workers ask for theirs themselves
        param_space=space,
        tune_config=rules,
        run_config=tune.RunConfig(name=name, storage_path=path, storage_filesystem=filesystem, callbacks=[children], verbose=0),
    )
    return list(tuner.fit())


def grid(key: str, values: list[str], concurrent: int) -> tuple[Config, tune.TuneConfig]:
    """``space`` and ``rules`` of ``run_trials`` for a trial with each of ``values``, in order, none stopped early."""
    return {key: tune.grid_search(values)}, tune.TuneConfig(num_samples=1, max_concurrent_trials=concurrent)


def run_name(trial: str) -> str:
    """The name of a trial's training in Ray's storage, for ``forget``."""
    return f"trial-{trial}"


def like_worker(settings: Settings, work: Callable[..., Any], *inputs: Any) -> Any:
    """``work(*inputs)`` in a process of the cluster that has what a training worker has: a GPU, or a CPU.

    A trial itself has neither. Raises what ``work`` raises, in Ray's wrapper.
    """
    share = {"num_gpus": 1, "num_cpus": 0} if on_gpu(settings) else {"num_cpus": 1}
    outside = {"scheduling_strategy": "DEFAULT"}  # not within the next to nothing that Tune reserves for the trial itself
    return ray.get(ray.remote(**share, **outside)(work).remote(*inputs))


def cause(error: BaseException | str) -> str:
    """What a trial failed of, on one line."""
    return " ".join(str(root_cause(error) if isinstance(error, BaseException) else error).split())


class Validations(TuneReportCallback):
    """Passes validations on to Tune, and not the reports between them, which have no score."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: ray.train.Checkpoint | None) -> None:
        """Called on Ray Train's controller with every report of all ranks."""
        if METRIC in metrics[0]:
            super().after_report(run_context, metrics, checkpoint)


def _trial(
    config: Config,
    choose: Choose,
    finish: Finish | None,
    params: dict[str, Any],
    settings: dict[str, Any],
    root: str,
    folder: str,
) -> dict[str, Any] | None:
    """One trial, on the cluster: its own training run, its validations reported to Tune; what it returns is, too."""
    os.chdir(folder)  # where the act was started: Tune moves a trial into a folder of its own, dvc.lock lies in this one
    chosen = choose(parse_params(params, "params"), config)
    places = Settings(**settings), Workspace(Path(root))
    rows: list[Row] = []
    outcome = launch(chosen, *places, run_name(tune.get_context().get_trial_id()), rows.append, [Validations()])
    return dict(finish(chosen, *places, outcome, rows)) if finish else None


class Children(tune.Callback):
    """One MLflow run a trial, under the act's; kept by the driver, so that trials know nothing of MLflow.

    As a context manager it ends the runs of trials that were cut short.
    """

    def __init__(self, choose: Choose, params: Params, settings: Settings, parent: str | None) -> None:
        self.choose, self.params, self.settings, self.parent = choose, params, settings, parent
        self.trackers: dict[str, Tracker] = {}
        self.closed: set[str] = set()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for trial in self.trackers.keys() - self.closed:
            self._close(trial, "KILLED")

    def title(self, trial: Any) -> str:
        """What a person and MLflow call a trial."""
        return f"trial-{trial.trial_id}"

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's run, once: a trial that is restarted keeps it."""
        if trial.trial_id not in self.trackers:
            chosen = flatten(self.choose(self.params, trial.config))
            self.trackers[trial.trial_id] = Tracker.start(
                self.settings, self.title(trial), chosen, {"stage": "trial"}, parent_run_id=self.parent
            )

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Log a validation and say it."""
        figures = {key: float(result[key]) for key in ("loss", "lr", METRIC, "ssim_y", "images_per_second") if key in result}
        self.trackers[trial.trial_id].log(figures, int(result["step"]))
        say(f"{self.title(trial)}  step {result['step']}  PSNR-Y {result[METRIC]:.2f} dB")

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
