"""The only home of ray.train: one ``launch`` for a training and for a trial of a sweep.

Workers run ``rdmc.training.loop`` and report; they know nothing of MLflow. Ray's controller, which lives on the driver's node,
appends each report to a journal file; the driver follows that file to show progress and to track (docs/decisions/0003).
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.train.v2.api.callback import UserCallback

from pipeline.cluster import on_gpu, require_resources, share, workers
from pipeline.config.params import Params, parse_params
from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.storage.datasets import fetch_dataset, ray_storage, shard_fetch
from pipeline.storage.runs import faults, kept
from pipeline.training.worker import Make, Row, Work, training
from rdmc.checkpoint import FACTS, WEIGHTS
from rdmc.data.loader import PairStore
from rdmc.data.sampling import local_batch_size
from rdmc.errors import RdmcError, ServiceError, TrainingError, one_line
from rdmc.files import new_folder
from rdmc.training.vgg19 import find_weights


@dataclass(frozen=True)
class TrainingResult:
    """What a launch leaves behind."""

    metrics: Row
    """The figures of the best checkpoint."""
    final: Row
    """The figures of the last one."""
    best: ray.train.Checkpoint
    """The checkpoint with the highest validation PSNR; the last one where nothing was validated."""
    last: ray.train.Checkpoint
    """The checkpoint of the last step."""


def launch(
    params: Params,
    settings: Settings,
    workspace: Paths,
    name: str,
    follow: Callable[[Row], None],
    callbacks: list[UserCallback] | None = None,
    make: Make = training,
) -> TrainingResult:
    """Train ``params`` on the cluster and return its checkpoints; ``follow`` is called with every report, in order.

    ``make`` is called in each worker and gives the training that it runs; it must be a function of a module.

    A worker that dies is replaced and the training goes on from the last checkpoint. A launch under the ``name`` of one
    that was stopped goes on where that one was. Raises ConfigError for a batch that does not divide, DataError for shards
    that are damaged or hold nothing to train on, ServiceError or CheckpointError for VGG19 weights that cannot be had,
    TrainingError for a training that failed, and what ``follow`` raises.
    """
    count = workers(settings)
    local_batch_size(params.train.global_batch_size, count)
    folders = [fetch_dataset(settings, workspace, dataset) for dataset in params.datasets]
    fetch = shard_fetch(settings, workspace)
    PairStore(folders, "train", fetch=fetch)  # refused before work starts, not by workers that are then replaced
    validated = len(PairStore(folders, "validation", allow_empty=True, fetch=fetch)) > 0
    best = {"checkpoint_score_attribute": "psnr_y"} if validated else {}
    if params.loss.needs_vgg19:
        find_weights(params.loss.vgg19_weights, params.loss.vgg19_sha256)
    require_resources(settings)
    path, filesystem = ray_storage(settings, workspace)
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder, _following(Path(folder) / "journal", follow) as journal:
        trainer = ray.train.torch.TorchTrainer(
            _train_worker,
            train_loop_config={
                "params": params.model_dump(mode="json", by_alias=True),
                "settings": settings.model_dump(),
                "root": str(workspace.root.absolute()),
                "make": make,
            },
            scaling_config=ray.train.ScalingConfig(
                num_workers=count, use_gpu=on_gpu(settings), resources_per_worker=share(settings)
            ),
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=path,
                storage_filesystem=filesystem,
                failure_config=ray.train.FailureConfig(max_failures=2),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1, **best),
                callbacks=[Journal(journal), *(callbacks or [])],
            ),
        )
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _readable(error) from None
    if result.checkpoint is None:
        raise TrainingError(f"{name}: the run ended without a checkpoint; run it again with `dvc repro train`")
    scored = [pair for pair in result.best_checkpoints or [] if "psnr_y" in pair[1]]
    final = dict(result.metrics or {})
    winner = max(scored, key=lambda pair: pair[1]["psnr_y"], default=(result.checkpoint, final))
    return TrainingResult(metrics=winner[1], final=final, best=winner[0], last=result.checkpoint)


class Journal(UserCallback):
    """Appends each report, a JSON object a line, to a file on the node that the driver shares with the controller."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: ray.train.Checkpoint | None) -> None:
        """Write rank 0's figures; they are the same on every rank."""
        with Path(self.path).open("a") as file:
            file.write(json.dumps(metrics[0]) + "\n")


@contextmanager
def _following(path: Path, follow: Callable[[Row], None]) -> Iterator[Path]:
    """Call ``follow`` with each row of the journal as it grows, in a thread that ends with the block.

    What ``follow`` raises is raised at the end of a block that ended well.
    """
    path.touch()
    done = threading.Event()

    def read() -> None:
        with path.open() as file:
            rest = ""
            while True:
                ending = done.is_set()  # before the read, so that nothing written earlier is missed
                rest += file.read()
                *lines, rest = rest.split("\n")
                for line in lines:
                    follow(json.loads(line))
                if ending:
                    return
                done.wait(0.2)

    with ThreadPoolExecutor(1, "journal") as pool:
        reading = pool.submit(read)
        try:
            yield path
        finally:
            done.set()
        reading.result()


def _train_worker(config: dict[str, Any]) -> None:
    """What each worker runs: the training loop, a report for each of its reports, a checkpoint at each validation."""
    params = parse_params(config["params"], "params")
    settings, workspace = Settings(**config["settings"]), Paths(Path(config["root"]))
    context = ray.train.get_context()
    work = Work.open(params, settings, workspace, ray.train.torch.get_device(), config["make"])
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            work.run.resume(Path(folder))
    for report in work.reports():
        saves = report.saves and context.get_world_rank() == 0
        with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
            if saves:
                work.save(Path(folder), report)
            ray.train.report(report.flat(), checkpoint=ray.train.Checkpoint.from_directory(folder) if saves else None)


def _readable(error: ray.train.TrainingFailedError) -> RdmcError:
    """The one line that matters of a failed training: our own error where a worker raised one."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    causes = [root_cause(failure) for failure in (*failures.values(), error)]
    ours = next((cause for cause in causes if isinstance(cause, RdmcError)), None)
    line = one_line(causes[0])
    return ours or TrainingError(f"training failed: {line[-600:]}; mend that and run it again, Ray's logs are in /tmp/ray")


def root_cause(error: BaseException) -> BaseException:
    """What was raised at the bottom of Ray's wrappers of an exception."""
    for name in ("_base_exc", "controller_failure", "cause", "__cause__"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException) and inner is not error:
            return root_cause(inner)
    return error


def bring_home(outcome: TrainingResult, workspace: Paths) -> None:
    """Copy the best model and the last state of a run out of Ray's storage, each replaced as a whole.

    Raises ServiceError where one of them cannot be read or written; the run can be brought home again.
    """
    with opened(outcome.best) as source, new_folder(workspace.best) as target:
        for name in (WEIGHTS, FACTS):
            shutil.copy2(source / name, target / name)
    with opened(outcome.last) as source, new_folder(workspace.last) as target:
        shutil.copytree(source, target, dirs_exist_ok=True)


@contextmanager
def opened(checkpoint: ray.train.Checkpoint) -> Iterator[Path]:
    """A checkpoint of Ray's storage as a folder here. Raises ServiceError where it, or what is made of it, fails."""
    with faults(checkpoint.path), checkpoint.as_directory() as folder:
        yield Path(folder)


def forget(settings: Settings, workspace: Paths, name: str) -> bool:
    """Delete a finished run from Ray's storage, so that the same params train anew when asked again.

    Whether it is gone: what hinders it is said and no more, for the run's results are at home by now.
    """
    try:
        kept(settings, workspace, name).remove()
    except ServiceError as error:
        say(f"warning: a finished run stays in the storage: {error}")
        return False
    return True
