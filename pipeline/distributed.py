"""The only home of ray.train: one ``launch`` for a training and for a trial of a sweep.

Workers run ``rdmc.training`` and report; they know nothing of MLflow. Ray's controller, which lives on the driver's node,
appends each report to a journal file; the driver follows that file to show progress and to track (docs/decisions/0003).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
import ray.train
import ray.train.torch
import torch
from ray.train.v2.api.callback import UserCallback

from pipeline.console import say
from pipeline.params import Params, parse_params
from pipeline.settings import CPU_WORKERS, Settings
from pipeline.storage import fetch_dataset, ray_storage, refusals, shard_fetch
from pipeline.workspace import Workspace
from rdmc.checkpoint import FACTS, WEIGHTS
from rdmc.data.loader import PairStore
from rdmc.data.sampling import local_batch_size
from rdmc.errors import ConfigError, RdmcError, ServiceError, TrainingError
from rdmc.files import new_folder
from rdmc.training import Run
from rdmc.vgg19 import find_weights

Row = dict[str, float]
REACH_SECONDS = 5.0
"""How long the head of a cluster may take to accept a connection."""


@dataclass(frozen=True)
class Outcome:
    """What a launch leaves behind."""

    metrics: Row
    """The figures of the best checkpoint."""
    final: Row
    """The figures of the last one."""
    best: ray.train.Checkpoint
    """The checkpoint with the highest validation PSNR; the last one where nothing was validated."""
    last: ray.train.Checkpoint
    """The checkpoint of the last step."""


@contextmanager
def cluster(settings: Settings, trials: int = 0) -> Iterator[None]:
    """A Ray to run on: the cluster of the settings or of the Ray job this is, or one of this process's own.

    The own one has a CPU for every worker of ``trials`` trainings of a sweep at once, or of one training, and one for what
    starts them. It listens on all
    of the machine's addresses, whatever ``_node_ip_address`` says, and takes nothing without the token that Ray makes in
    ``~/.ray``: Ray 2.60 turns that on for a cluster of its own unless RAY_AUTH_MODE says otherwise.

    Raises ServiceError where the cluster does not answer, ConfigError for GPUs that are not there.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # a report is seen after this long, not two seconds
    address = os.environ.get("RAY_ADDRESS") or settings.ray_address
    local = address == "local"
    logging.getLogger("ray").setLevel(logging.ERROR)  # what concerns a person is said by us
    try:
        _knock(address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({"num_cpus": max(trials, 1) * workers(settings) + 1, **_dashboard(trials > 0)} if local else {}),
        )
    except (OSError, RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ServiceError(f"Ray at {address!r} cannot be reached ({line}); start it or set RDMC_RAY_ADDRESS=local") from None
    for name in ("ray.train", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    token = Path.home() / ".ray/auth_token"
    if token.is_file():
        token.chmod(0o600)  # Ray listens on every address and makes this token for it, for all on the machine to read
    try:
        yield
    finally:
        ray.shutdown()


def _dashboard(wanted: bool) -> dict[str, Any]:
    """Settings of an own Ray with a dashboard, or without.

    The dashboard tells Ray that a stopped trial's controller is dead, and so its workers' CPUs are free again. All processes
    are told where it is: they would look for it themselves, and in vain where the machine has several Rays.
    """
    if not wanted:
        return {"include_dashboard": False}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"env_vars": {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}}
    return {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port, "runtime_env": where}


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at ``host:port``; Ray itself would try for minutes. Other addresses pass."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()


def on_gpu(settings: Settings) -> bool:
    """Whether workers get a GPU each: as set, or wherever the cluster (or this machine) has any."""
    if settings.gpu is not None:
        return settings.gpu
    if ray.is_initialized():
        return bool(ray.cluster_resources().get("GPU", 0) > 0)
    return torch.cuda.is_available()


def workers(settings: Settings) -> int:
    """How many training workers there are to be. Raises ConfigError for GPUs that are asked for and not there."""
    if settings.workers:
        return settings.workers
    if not on_gpu(settings):
        return CPU_WORKERS
    count = int(ray.cluster_resources().get("GPU", 0)) if ray.is_initialized() else torch.cuda.device_count()
    if not count:
        raise ConfigError("RDMC_GPU: true, and there is no GPU; set RDMC_GPU=false or add one")
    return count


def training(params: Params, device: torch.device) -> Run:
    """What a worker runs, unless ``launch`` is told otherwise."""
    return Run(params.network, params.loss, params.train, params.seed, device)


def launch(
    params: Params,
    settings: Settings,
    workspace: Workspace,
    name: str,
    follow: Callable[[Row], None],
    callbacks: list[UserCallback] | None = None,
    make: Callable[[Params, torch.device], Run] = training,
) -> Outcome:
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
    _require_resources(count, on_gpu(settings))
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
            scaling_config=ray.train.ScalingConfig(num_workers=count, use_gpu=on_gpu(settings)),
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
    return Outcome(metrics=winner[1], final=final, best=winner[0], last=result.checkpoint)


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
    warnings.filterwarnings("ignore", module="torch")
    params = parse_params(config["params"], "params")
    settings, workspace = Settings(**config["settings"]), Workspace(Path(config["root"]))
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    folders = [fetch_dataset(settings, workspace, dataset) for dataset in params.datasets]
    fetch = shard_fetch(settings, workspace)
    train = PairStore(folders, "train", settings.cache_mb, fetch=fetch)
    validation = PairStore(folders, "validation", settings.cache_mb, allow_empty=True, fetch=fetch)
    run: Run = config["make"](params, device)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            run.resume(Path(folder))
    facts = {"seed": params.seed, "data": train.digest, "datasets": list(params.datasets)}
    for report in run.reports(train, validation, settings.loaders):
        kept = report.saves and context.get_world_rank() == 0
        with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
            if kept:
                run.save(Path(folder), {**facts, "validation": report.validation or {}})
            ray.train.report(report.flat(), checkpoint=ray.train.Checkpoint.from_directory(folder) if kept else None)


def _require_resources(count: int, gpu: bool) -> None:
    """Refuse what the cluster can never place, rather than wait for it for ever."""
    kind = "GPU" if gpu else "CPU"
    have = int(ray.cluster_resources().get(kind, 0))
    if have < count:
        cure = "RDMC_GPU=false" if gpu and not have else f"RDMC_WORKERS={max(have, 1)}"
        raise ConfigError(
            f"RDMC_WORKERS: {count} workers need {count} {kind}s, the cluster has {have}; set {cure} or add nodes"
        )


def _readable(error: ray.train.TrainingFailedError) -> RdmcError:
    """The one line that matters of a failed training: our own error where a worker raised one."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    causes = [root_cause(failure) for failure in (*failures.values(), error)]
    ours = next((cause for cause in causes if isinstance(cause, RdmcError)), None)
    line = " ".join(str(causes[0]).split())
    return ours or TrainingError(f"training failed: {line[-600:]}; mend that and run it again, Ray's logs are in /tmp/ray")


def root_cause(error: BaseException) -> BaseException:
    """What was raised at the bottom of Ray's wrappers of an exception."""
    for name in ("_base_exc", "controller_failure", "cause", "__cause__"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException) and inner is not error:
            return root_cause(inner)
    return error


def bring_home(outcome: Outcome, workspace: Workspace) -> None:
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
    with _faults(checkpoint.path), checkpoint.as_directory() as folder:
        yield Path(folder)


def forget(settings: Settings, workspace: Workspace, name: str) -> bool:
    """Delete a finished run from Ray's storage, so that the same params train anew when asked again.

    Whether it is gone: what hinders it is said and no more, for the run's results are at home by now.
    """
    path, filesystem = ray_storage(settings, workspace)
    place = f"{path}/{name}"
    try:
        with _faults(place), suppress(FileNotFoundError):
            (filesystem or pyarrow.fs.LocalFileSystem()).delete_dir(place)
    except ServiceError as error:
        say(f"warning: a finished run stays in the storage: {error}")
        return False
    return True


@contextmanager
def _faults(place: str) -> Iterator[None]:
    """Turn what Ray's storage raises, on disk or in a bucket, into one line."""
    try:
        with refusals(place):
            yield
    except OSError as error:
        line = " ".join(str(error).split())
        raise ServiceError(f"{place}: {line}; see that there is room and that it can be read and written") from None
