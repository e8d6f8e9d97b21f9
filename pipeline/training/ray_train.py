"""Ray Train: ``launch`` runs a training, an architecture search, or a trial with several workers.

Workers run ``rdmc.training.loop`` and report; they know nothing of MLflow. Ray's controller runs on the driver's node and
appends each report to a journal file (``pipeline.training.controller``). The driver follows that file to show progress and to
track (docs/decisions/0003).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from ray.train.v2._internal.constants import WORKER_GROUP_START_TIMEOUT_S_ENV_VAR
from ray.train.v2.api.callback import RayTrainCallback

from pipeline.cluster import fewest_workers, on_gpu, require_resources, share, workers
from pipeline.config.project import Project, from_plain
from pipeline.config.recipe import Recipe
from pipeline.console import say
from pipeline.storage.runs import ray_storage, run_files
from pipeline.storage.s3 import bucket_of
from pipeline.training.checkpoints import TrainingResult, read_reports, resume_point, write_reports
from pipeline.training.controller import KILLED, RETRIES, Journal, Restarts, Waiting, interval, root_cause
from pipeline.training.elastic import Divisors
from pipeline.training.following import following
from pipeline.training.network import OwnAddress
from pipeline.training.worker import MakeRun, Row, Work, training
from rdmc.data.sampling import local_batch_size
from rdmc.errors import RdmcError, TrainingError, one_line
from rdmc.training.vgg19 import find_weights


def launch(
    project: Project[Recipe],
    name: str,
    follow: Callable[[Row], None],
    validates: bool,
    callbacks: list[RayTrainCallback] | None = None,
    make: MakeRun = training,
    restarted: Callable[[str], None] = lambda cause: None,
) -> TrainingResult:
    """Train a project's params on the cluster and return the checkpoints.

    A worker that dies is replaced, and the training resumes from the last checkpoint. An error that cannot heal, such as
    damaged data, ends it at once. A launch with the name of a stopped run resumes that run.

    Args:
        project: Supplies the params to train with; each worker opens its data.
        name: The folder of the run in Ray's storage.
        follow: Called with every report, in order.
        validates: Whether there are validation pairs; without them the last checkpoint counts as the best one.
        callbacks: Further callbacks for Ray Train.
        make: Called in each worker; returns the training that it runs. It must be a module-level function.
        restarted: Called with ``failure`` or ``preemption`` when the workers start again.

    Raises:
        ConfigError: The batch does not divide among the workers.
        CheckpointError: The VGG19 weights cannot be read.
        OutageError: The bucket was gone for ``RDMC_OUTAGE`` seconds.
        TrainingError: The training failed, or the cluster was full for ``RDMC_WAIT`` seconds. What ``follow`` raises
            is raised at its end.
    """
    settings, loss = project.settings, project.params.loss
    fewest, count = _numbers(project)
    score = "psnr_y" if validates else None
    if loss.needs_vgg19:
        find_weights(loss.vgg19_weights, loss.vgg19_sha256)
    require_resources(settings)
    path, filesystem = ray_storage(project)
    os.environ[WORKER_GROUP_START_TIMEOUT_S_ENV_VAR] = str(interval(settings.wait))  # Ray hands it on to the controller
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder, following(Path(folder), follow, restarted) as journal:
        trainer = _Trainer(
            _train_worker,
            train_loop_config={"project": project.to_plain(), "make": make},
            scaling_config=ray.train.ScalingConfig(
                num_workers=(fewest, count) if fewest < count else count,
                use_gpu=on_gpu(settings),
                resources_per_worker=share(settings),
            ),
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=path,
                storage_filesystem=filesystem,
                failure_config=ray.train.FailureConfig(max_failures=RETRIES),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=score),
                callbacks=[*_callbacks(journal, project, name), *(callbacks or [])],
            ),
        )
        try:
            return _result(trainer.fit(), name)
        except ray.train.TrainingFailedError as error:
            raise _readable(error) from None


def _numbers(project: Project[Recipe]) -> tuple[int, int]:
    """The fewest and the most workers. Raises ConfigError if the batch does not divide among them."""
    found = fewest_workers(project.settings), workers(project.settings)
    for count in found:
        local_batch_size(project.params.train.global_batch_size, count)
    return found


def _callbacks(journal: Path, project: Project[Recipe], name: str) -> list[RayTrainCallback]:
    """What Ray's controller does for a launch."""
    fewest, most = _numbers(project)
    waiting = Waiting(journal, project.settings.wait, varies=fewest < most)
    return [Journal(journal, _saved(project, name)), Restarts(journal), waiting, OwnAddress()]


def _result(result: ray.train.Result, name: str) -> TrainingResult:
    """What a training of Ray has left. Raises TrainingError without a checkpoint."""
    if result.checkpoint is None:
        raise TrainingError(f"{name}: the run ended without a checkpoint; run it again with `dvc repro train`")
    scored = [pair for pair in result.best_checkpoints or [] if "psnr_y" in pair[1]]
    final = dict(result.metrics or {})
    best, metrics = max(scored, key=lambda pair: pair[1]["psnr_y"], default=(result.checkpoint, final))
    return TrainingResult(metrics, final, best, last=result.checkpoint)


def _saved(project: Project[Recipe], name: str) -> int | None:
    """The step from which a stopped run resumes, after a line that says so; None if it starts at the first step."""
    found = resume_point(run_files(project, name))
    if found is None:
        return None
    say(f"resumes from step {found[0]} of {project.params.train.steps}: {found[1]}")
    return found[0]


class _Trainer(ray.train.torch.TorchTrainer):
    """Leaves Ctrl-C to the command, which ends its MLflow run and then Ray."""

    def _initialize_and_run_controller(self, **inputs: Any) -> ray.train.Result:
        """Run Ray's controller, with our rule where the number of workers varies."""
        if self.scaling_config.elasticity_enabled:
            batch = self.train_loop_config["project"]["params"]["train"]["global_batch_size"]
            inputs["scaling_policy"] = Divisors(self.scaling_config, batch)
        return super()._initialize_and_run_controller(**inputs)

    def _register_sigint_handler(self, controller: Any) -> None:
        """Do nothing. Ray's own handler would end the training with an error of Ray."""


def _train_worker(config: dict[str, Any]) -> None:
    """Run the training loop in a worker; pass its reports to Ray, with a checkpoint from rank 0 where a report saves one."""
    project = from_plain(config["project"], Recipe)
    context = ray.train.get_context()
    work = Work.open(project, ray.train.torch.get_device(), config["make"])
    checkpoint = ray.train.get_checkpoint()
    rows: list[Row] = []
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            work.run.resume(Path(folder))
            rows = read_reports(Path(folder))
    to_bucket = bucket_of(project.settings) is not None and not project.settings.storage
    mode = ray.train.CheckpointUploadMode.ASYNC if to_bucket else ray.train.CheckpointUploadMode.SYNC
    limit = project.settings.outage + UPLOAD
    saved_for: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
        for report in work.reports():
            rows.append(report.flat())
            checkpoint = None
            if leaving := _leaving(saved_for):
                saved_for = leaving
            if (report.saves or leaving) and context.get_world_rank() == 0:
                _wait_for_uploads(Path(folder), PENDING - 1, limit)
                target = Path(folder) / str(report.step)
                target.mkdir()
                work.save(target, report)
                write_reports(target, rows)
                checkpoint = ray.train.Checkpoint.from_directory(target)
            ray.train.report(rows[-1], checkpoint, checkpoint_upload_mode=mode, delete_local_checkpoint_after_upload=True)
        _wait_for_uploads(Path(folder), 0, limit)


def _leaving(known: list[str]) -> list[str]:
    """The nodes of workers that are about to leave the cluster, if there are others than ``known``; equal on all ranks.

    Every rank must call this with the same reports.
    """
    info = ray.train.get_preemption_info()
    nodes = info.preempted_node_ids if info else []
    return nodes if nodes != known else []


PENDING = 2
"""Checkpoints that may wait for their upload to a bucket while the training goes on."""


UPLOAD = 600.0
"""Seconds that the upload of a checkpoint may take, besides those of an outage (``RDMC_OUTAGE``)."""


def _wait_for_uploads(folder: Path, most: int, limit: float) -> None:
    """Wait until at most so many checkpoints are left in ``folder``. Ray deletes one when it is uploaded.

    Raises TrainingError where no upload ends for ``limit`` seconds.
    """
    known, since = set(folder.iterdir()), time.monotonic()
    while len(left := set(folder.iterdir())) > most:
        if left != known:
            known, since = left, time.monotonic()
        if time.monotonic() - since > limit:
            step = min(int(path.name) for path in left)
            raise TrainingError(
                f"the checkpoint of step {step} was not stored within {limit:.0f} s (RDMC_OUTAGE and {UPLOAD:.0f} s); "
                "make sure that the storage can be written, then run the same command again: it resumes"
            )
        time.sleep(0.05)


MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
"""What PyTorch and the operating system say where memory is missing."""


def _readable(error: ray.train.TrainingFailedError) -> RdmcError:
    """The cause of a failed training as an error of one line.

    It is the project's own error where a worker raised one. Else it is a worker that was killed or had no memory left: the
    other workers then fail too, because they lose their connection to it.
    """
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    causes = [root_cause(failure) for failure in (*failures.values(), error)]
    ours = next((cause for cause in causes if isinstance(cause, RdmcError)), None)
    short = next((cause for cause in causes if lacks_memory(cause)), None)
    return ours or TrainingError(
        f"{out_of_memory(short)}; or free memory; then run it again"
        if short
        else f"training failed: {one_line(causes[0])}; fix that and run it again, Ray's logs are in /tmp/ray"
    )


def lacks_memory(cause: BaseException) -> bool:
    """Whether a worker was killed, or says that its memory ran out."""
    return isinstance(cause, (*KILLED, MemoryError)) or any(text in str(cause).lower() for text in MEMORY)


def out_of_memory(cause: BaseException) -> str:
    """What happened to a worker that lacked memory, and the params that help, in one line."""
    killed = "a worker was killed, most often because memory ran out" if isinstance(cause, KILLED) else "memory ran out"
    return f"{killed} ({one_line(cause)}); lower train.global_batch_size or train.crop in params.yaml"
