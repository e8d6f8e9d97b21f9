"""The checkpoints that a training leaves in Ray's storage: open them, copy them to this machine, delete them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray.train
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.console import say
from pipeline.storage.runs import RunFiles, faults, run_files
from pipeline.training.worker import Row
from rdmc.checkpoint import FACTS, WEIGHTS
from rdmc.errors import ServiceError
from rdmc.files import new_folder, write_text

REPORTS = "reports.jsonl"
"""The file of a checkpoint with every report up to its step, an object of JSON per line. A killed driver may have missed the
last of them."""


@dataclass(frozen=True)
class TrainingResult:
    """The figures and checkpoints of a training that has ended."""

    metrics: Row
    """Figures of the best checkpoint."""
    final: Row
    """Figures of the last checkpoint."""
    best: ray.train.Checkpoint
    """The checkpoint with the highest validation PSNR; the last one where nothing was validated."""
    last: ray.train.Checkpoint
    """The checkpoint of the last step."""


@contextmanager
def opened(checkpoint: ray.train.Checkpoint) -> Iterator[Path]:
    """Yield a checkpoint of Ray's storage as a folder on this machine.

    Raises ServiceError where it cannot be read or written.
    """
    with faults(checkpoint.path), checkpoint.as_directory() as folder:
        yield Path(folder)


def bring_home(result: TrainingResult, paths: Paths) -> None:
    """Copy the best model and the last state out of Ray's storage. Each replaces the folder that was there as a whole.

    Raises ServiceError where one of them cannot be read or written; the same result can be copied again.
    """
    with opened(result.best) as source, new_folder(paths.best) as target:
        for name in (WEIGHTS, FACTS):
            shutil.copy2(source / name, target / name)
    with opened(result.last) as source, new_folder(paths.last) as target:
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(REPORTS))  # equal runs differ in it


def resume_point(place: RunFiles) -> tuple[int, str] | None:
    """Return the step of the checkpoint that a launch in the folder ``place`` resumes from, and the checkpoint's folder.

    None if there is none, or if Ray's own note of its checkpoints has another form than Ray 2.60 gives it. Raises ServiceError
    where the storage fails.
    """
    latest = _latest(place)
    return (latest[0], latest[1].path) if latest else None


def reported(place: RunFiles) -> dict[int, Row]:
    """The reports, by step, in the checkpoint that a launch in the folder ``place`` resumes from; empty if it has none.

    Raises ServiceError where the storage fails.
    """
    latest = _latest(place)
    text = latest[1].read(REPORTS) if latest else None
    try:
        return {int(row["step"]): row for row in map(json.loads, (text or "").splitlines())}
    except (ValueError, KeyError, TypeError):
        return {}  # the training does not need it


def write_reports(folder: Path, rows: list[Row]) -> None:
    """Write the reports of a training so far into its checkpoint."""
    write_text(folder / REPORTS, "".join(f"{json.dumps(row)}\n" for row in rows))


def read_reports(folder: Path) -> list[Row]:
    """What ``write_reports`` wrote; empty if the checkpoint has no such file."""
    file = folder / REPORTS
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def _latest(place: RunFiles) -> tuple[int, RunFiles] | None:
    """The step and the folder of the last checkpoint that Ray has noted in ``place``."""
    text = place.read(CHECKPOINT_MANAGER_SNAPSHOT_FILENAME)
    try:
        latest = json.loads(text)["latest_checkpoint_result"] if text else None
        return (int(latest["metrics"]["step"]), place.within(latest["checkpoint_dir_name"])) if latest else None
    except (ValueError, KeyError, TypeError):
        return None


def forget(project: Project[Recipe], name: str) -> bool:
    """Delete a finished run from Ray's storage, so that a later command with the same params trains again.

    Returns whether the run is gone. A failure is only shown as a warning, because the run's results are already copied.
    """
    try:
        run_files(project, name).remove()
    except ServiceError as error:
        say(f"warning: a finished run stays in the storage: {error}")
        return False
    return True
