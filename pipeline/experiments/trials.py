"""The trials of sweeps and ablations on Ray Tune. Each trial is a training with its own params.

A trial with one worker trains in its own process, which the next trial reuses (pipeline/training/in_process.py); a trial
with several workers is a ``launch``. A trial whose process dies is restarted, on another node where its node is gone, and
resumes from its last checkpoint. A trial that raises an error of its own is not restarted.
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
from pipeline.training.controller import root_cause
from pipeline.training.in_process import train_here
from pipeline.training.ray_train import lacks_memory, launch, out_of_memory
from pipeline.training.worker import Row
from rdmc.errors import RdmcError, one_line

TUNE = "-ray-tune"
"""Suffix of the folder of Ray Tune's own files, next to the sweep's folder."""
RESTARTS = 10
"""How often a trial whose process died is restarted."""
Finish = Callable[[Project[Params], TrainingResult, list[Row]], Mapping[str, Any]]
"""Called at the end of a trial with its project, checkpoints and rows; returns plain figures for the driver."""


def run_trials(
    project: Project[Params],
    choose: Choose,
    name: str,
    space: Config,
    rules: tune.TuneConfig,
    runs: TrialRuns,
    finish: Finish | None = None,
) -> list[Any]:
    """Train the trials that ``space`` and ``rules`` define; return Ray Tune's result of each trial, failed ones included.

    ``choose`` and ``finish`` must be module-level functions, because the trials import them in other processes. The trials'
    files under ``name`` stay, so that a later command can resume; ``forget_trials`` deletes them.
    """
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # so that Ctrl-C ends the command and marks its runs as stopped
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow already has the figures
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # hides Tune's own tables
    settings = project.settings
    path, filesystem = ray_storage(project)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # hides tracebacks of failed trials: the commands show the causes
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
    # a trial with several workers only coordinates: its workers request their own resources
    needs = alone if workers(settings) == 1 else {"CPU": COORDINATION}
    tuner = tune.Tuner(
        tune.with_resources(trial, needs),
        param_space=space,
        tune_config=rules,
        run_config=tune.RunConfig(
            name=f"{name}{TUNE}",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
            callbacks=[runs],
            verbose=0,
        ),
    )
    try:
        return list(tuner.fit())
    except TuneError as error:
        raise _behind(error) from None


def _behind(error: TuneError) -> Exception:
    """The error that Tune wrapped in a traceback where the driver failed to handle a report, as with a full disk."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, RdmcError | OSError):
        inner = inner.__cause__ or inner.__context__
    return inner if isinstance(inner, Exception) else error


def forget_trials(project: Project[Params], name: str) -> None:
    """Delete the files of the trials of a sweep or an ablation, and Ray Tune's own files."""
    for folder in run_files(project).folders():
        if folder == name or folder.startswith((f"{name}{TUNE}", f"{name}-trial-")):
            forget(project, folder)


def grid(key: str, values: list[str], concurrent: int) -> tuple[Config, tune.TuneConfig]:
    """``space`` and ``rules`` of ``run_trials`` for one trial per value, in order, without early stopping."""
    return {key: tune.grid_search(values)}, tune.TuneConfig(num_samples=1, max_concurrent_trials=concurrent)


def folder_of(trial: str) -> str:
    """The name of a trial's checkpoint folder inside the sweep's folder."""
    return f"trial-{trial.replace('/', '-')}"


def like_worker(settings: Settings, work: Callable[..., Any], *inputs: Any) -> Any:
    """Return ``work(*inputs)``, run with the resources of a training worker, a GPU or a CPU.

    It runs in this process where the trial itself trains, that is with one worker; otherwise in a task of Ray. Raises the
    errors of ``work``, in Ray's wrapper where it ran in a task.
    """
    if workers(settings) == 1:
        return work(*inputs)
    share = {"num_gpus": 1, "num_cpus": 0} if on_gpu(settings) else {"num_cpus": 1}
    outside = {"scheduling_strategy": "DEFAULT"}  # the resources that Tune reserves for the trial itself are too small
    return ray.get(ray.remote(**share, **outside)(work).remote(*inputs))


def cause(error: BaseException | str) -> str:
    """The cause of a trial's failure, as one line, with the params that help where memory ran out."""
    found = root_cause(error) if isinstance(error, BaseException) else error
    return out_of_memory(found) if isinstance(found, BaseException) and lacks_memory(found) else one_line(found)


class Validations(TuneReportCallback):
    """Passes only validations to Tune; the reports between them have no score."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Pass on a report with a score. Ray Train's controller calls this with the reports of all ranks."""
        if METRIC in metrics[0]:
            super().after_report(run_context, metrics, checkpoint)


def _trial(
    config: Config, choose: Choose, finish: Finish | None, project: dict[str, Any], folder: str, name: str
) -> dict[str, Any] | None:
    """Run one trial on the cluster: train, report its validations to Tune, return its final figures, which Tune reports too.

    An error of the trial itself is returned as ``failure``, because Tune would restart the trial if it were raised. The death
    of one of Ray's processes is raised.
    """
    if Path(folder).is_dir():  # another machine may not have it; relative paths of params count from there
        os.chdir(folder)
    try:
        whole = from_plain(project, Params)
        own = whole.with_params(choose(whole.params, config))
        rows: list[Row] = []
        train = _train_in_process if workers(own.settings) == 1 else _train_workers
        result = train(config, own, name, rows)
        return dict(finish(own, result, rows)) if finish else None
    except RayError:
        raise
    except Exception as error:  # noqa: BLE001  # any other error would happen again after a restart
        return {"failure": cause(error)}


def _train_in_process(config: Config, project: Project[Params], name: str, rows: list[Row]) -> TrainingResult:
    """Train in the current process, which may have trained other trials before."""

    def follow(row: Row) -> None:
        rows.append(row)
        if METRIC in row:
            tune.report(dict(row))  # returns where the trial may continue; otherwise Tune ends this thread here

    gpu = on_gpu(project.settings)
    if gpu:
        gc.collect()
        torch.cuda.empty_cache()  # frees the memory of the previous trial
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
    """Train with several workers of Ray Train."""
    validates = len(open_pairs(project, "validation", allow_empty=True)) > 0
    own = f"{name}-{folder_of(config['trial'])}"
    result = launch(project, own, rows.append, validates, callbacks=[Validations()])
    if METRIC in result.final and not any(row["step"] == result.final["step"] for row in rows):
        tune.report(dict(result.final))  # a kill may have come between the last checkpoint and its report
    return result
