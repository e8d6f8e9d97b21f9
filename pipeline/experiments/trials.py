"""What a sweep and an ablation share: trials on Ray Tune, each a training of its own params.

A trial of one worker trains in its own process, which the next trial takes over (pipeline/training/in_process.py); one of several is a
``launch``. A trial whose process dies is started again, on another node where its own is gone, and goes on from its last
checkpoint; one that fails of itself is not.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.integration.ray_train import TuneReportCallback

from pipeline.cluster import COORDINATION, on_gpu, share, workers
from pipeline.config.params import Params
from pipeline.config.project import Project, from_plain
from pipeline.config.settings import Settings
from pipeline.experiments.mlflow_callback import METRIC, Choose, Config, TrialRuns
from pipeline.storage.datasets import open_pairs
from pipeline.storage.runs import ray_storage, run_files
from pipeline.training.checkpoints import TrainingResult, forget
from pipeline.training.in_process import train_here
from pipeline.training.ray_train import launch, root_cause
from pipeline.training.worker import Row
from rdmc.errors import RdmcError, one_line

TUNE = "-ray-tune"
"""What Ray Tune keeps of a sweep lies beside what we do, under this ending."""
RESTARTS = 10
"""How often a trial is started again whose process died."""
Finish = Callable[[Project[Params], TrainingResult, list[Row]], Mapping[str, Any]]
"""What a trial does when it is trained, from its project, its checkpoints and its rows; returns plain figures for the driver."""


def run_trials(
    project: Project[Params],
    choose: Choose,
    name: str,
    space: Config,
    rules: tune.TuneConfig,
    children: TrialRuns,
    finish: Finish | None = None,
) -> list[Any]:
    """Train what ``space`` and ``rules`` give, and return Ray Tune's result of each trial, failed ones included.

    ``choose`` and ``finish`` are functions of a module: the trials, which run elsewhere, import them. What trials keep under
    ``name`` stays, for whoever goes on; ``forget_trials`` deletes it.
    """
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the act, and its runs as stopped
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow has it all
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables
    settings = project.settings
    path, filesystem = ray_storage(project)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # tracebacks of failed trials: the acts say what they died of
    trial = tune.with_parameters(
        _trial,
        choose=choose,
        finish=finish,
        project=project.to_plain(),
        folder=str(Path.cwd()),
        name=name,
    )
    alone = share(settings) | ({"CPU": 0} if on_gpu(settings) else {})
    rules.reuse_actors = workers(settings) == 1
    tuner = tune.Tuner(
        tune.with_resources(
            trial, alone if workers(settings) == 1 else {"CPU": COORDINATION}
        ),  # else its workers ask for theirs
        param_space=space,
        tune_config=rules,
        run_config=tune.RunConfig(
            name=f"{name}{TUNE}",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
            callbacks=[children],
            verbose=0,
        ),
    )
    try:
        return list(tuner.fit())
    except TuneError as error:
        raise _behind(error) from None


def _behind(error: TuneError) -> Exception:
    """What was raised while the driver took a trial's news in, as by a full disk, and which Tune wraps in a traceback."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, RdmcError | OSError):
        inner = inner.__cause__ or inner.__context__
    return inner if isinstance(inner, Exception) else error


def forget_trials(project: Project[Params], name: str) -> None:
    """Delete what the trials of a sweep or an ablation kept, and what Ray Tune did."""
    for folder in run_files(project).folders():
        if folder == name or folder.startswith((f"{name}{TUNE}", f"{name}-trial-")):
            forget(project, folder)


def grid(key: str, values: list[str], concurrent: int) -> tuple[Config, tune.TuneConfig]:
    """``space`` and ``rules`` of ``run_trials`` for a trial with each of ``values``, in order, none stopped early."""
    return {key: tune.grid_search(values)}, tune.TuneConfig(num_samples=1, max_concurrent_trials=concurrent)


def folder_of(trial: str) -> str:
    """The folder of a trial's checkpoints in that of its sweep."""
    return f"trial-{trial.replace('/', '-')}"


def like_worker(settings: Settings, work: Callable[..., Any], *inputs: Any) -> Any:
    """``work(*inputs)`` in a process that has what a training worker has, a GPU or a CPU: in this one, if it trains itself.

    Raises what ``work`` raises, elsewhere in Ray's wrapper.
    """
    if workers(settings) == 1:
        return work(*inputs)
    share = {"num_gpus": 1, "num_cpus": 0} if on_gpu(settings) else {"num_cpus": 1}
    outside = {"scheduling_strategy": "DEFAULT"}  # not within the next to nothing that Tune reserves for the trial itself
    return ray.get(ray.remote(**share, **outside)(work).remote(*inputs))


def cause(error: BaseException | str) -> str:
    """What a trial failed of, on one line."""
    return one_line(root_cause(error) if isinstance(error, BaseException) else error)


class Validations(TuneReportCallback):
    """Passes validations on to Tune, and not the reports between them, which have no score."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called on Ray Train's controller with every report of all ranks."""
        if METRIC in metrics[0]:
            super().after_report(run_context, metrics, checkpoint)


def _trial(
    config: Config, choose: Choose, finish: Finish | None, project: dict[str, Any], folder: str, name: str
) -> dict[str, Any] | None:
    """One trial, on the cluster: its own training run, its validations reported to Tune; what it returns is reported too.

    An error of the trial itself is returned, as ``failure``, since Tune would start the trial again. The death of one of Ray's
    processes is raised.
    """
    os.chdir(folder)  # where the command was started: Tune moves a trial into a folder of its own, dvc.lock lies in this one
    try:
        whole = from_plain(project, Params)
        own = whole.with_params(choose(whole.params, config))
        rows: list[Row] = []
        train = _train_in_process if workers(own.settings) == 1 else _train_workers
        result = train(config, own, name, rows)
        return dict(finish(own, result, rows)) if finish else None
    except RayError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it would fail of it again
        return {"failure": cause(error)}


def _train_in_process(config: Config, project: Project[Params], name: str, rows: list[Row]) -> TrainingResult:
    """Train in this process, which may have trained other trials before."""

    def follow(row: Row) -> None:
        rows.append(row)
        if METRIC in row:
            tune.report(dict(row))  # returns when Tune lets the trial continue, and ends its thread where not

    gpu = on_gpu(project.settings)
    if gpu:
        gc.collect()
        torch.cuda.empty_cache()  # memory of the trial before
    sweep = run_files(project, name)
    return train_here(
        project,
        sweep.within(folder_of(config["trial"])),
        follow,
        torch.device("cuda" if gpu else "cpu"),
        begun=config.get("begun", 0),
        until=config.get("until", 0),
        start=sweep.within(config["start"]) if config.get("start") else None,
        generation=config.get("generation", 0),
    )


def _train_workers(config: Config, project: Project[Params], name: str, rows: list[Row]) -> TrainingResult:
    """Train with Ray Train's workers."""
    validates = len(open_pairs(project, "validation", allow_empty=True)) > 0
    own = f"{name}-{folder_of(config['trial'])}"
    result = launch(project, own, rows.append, validates, callbacks=[Validations()])
    if METRIC in result.final and not any(row["step"] == result.final["step"] for row in rows):
        tune.report(dict(result.final))  # a kill just after the last checkpoint may have come before its report
    return result
