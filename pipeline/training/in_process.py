"""A training with one worker in the current process, for trials: it starts no process and can stop between two steps.

It writes its own checkpoints, so a later call with the same folder resumes it, even after a kill at any moment.
``latest.json`` names the valid checkpoints and is replaced as a whole. It is written after a new checkpoint is complete and
before older ones are deleted.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import ray.train
import torch

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.storage.runs import RunFiles
from pipeline.training.checkpoints import TrainingResult
from pipeline.training.worker import Row, Work, training
from rdmc.errors import CheckpointError, TrainingError
from rdmc.training.report import Report

LATEST = "latest.json"


@dataclass
class Progress:
    """How far a training is: the content of ``latest.json``."""

    generation: int = 0
    """How often the training has started from another trial's weights."""
    rows: list[Row] = field(default_factory=list)
    """The reports with a checkpoint, in order."""
    kept: list[int] = field(default_factory=list)
    """Steps whose checkpoints are in the folder."""

    @property
    def last(self) -> Row:
        """The last row."""
        return self.rows[-1]

    @property
    def best(self) -> Row:
        """The row with the highest PSNR-Y among the kept checkpoints; the last row where nothing was validated."""
        validated = [row for row in self.rows if "psnr_y" in row and row["step"] in self.kept]
        return max(validated, key=lambda row: row["psnr_y"], default=self.last)


def checkpoint_name(step: float) -> str:
    """The name of the folder with a step's checkpoint."""
    return f"step-{int(step):07d}"


def train_here(
    project: Project[Recipe],
    place: RunFiles,
    follow: Callable[[Row], None],
    device: torch.device,
    begun: int = 0,
    until: int = 0,
    start: RunFiles | None = None,
    generation: int = 0,
) -> TrainingResult:
    """Train with the params of ``project`` from the last checkpoint in ``place`` to the step ``until``.

    Args:
        project: Supplies the params and the data.
        place: The folder of the training's checkpoints.
        follow: Called with every report that saves, once its checkpoint is complete. A resumed training calls it again with
            the last report.
        device: The device to train on.
        begun: The step at which this stretch of the training begins. Its checkpoint is kept during the stretch, because
            other trials may start from it.
        until: The last step of the stretch; 0 for the last step of the recipe.
        start: The checkpoint that the training starts from, with the current params, where ``place`` is of an older
            generation.
        generation: How often the training has started from another trial's weights, this time included.

    Raises the errors of a training, DataError and CheckpointError among them, and ServiceError where the storage fails.
    """
    work = Work.open(project, device, training)
    until = until or project.params.train.steps
    progress = _resume(work, place, start, generation)
    if progress.rows and progress.last["step"] > begun:
        follow(progress.last)  # a kill may have come between the checkpoint and its report
    if work.run.step < until:
        seconds = 0.0
        for report in work.reports():
            seconds += report.step_seconds
            if report.saves:
                _keep(work, replace(report, step_seconds=seconds), progress, place, begun)
                follow(progress.last)
                seconds = 0.0
            if report.step >= until:
                break
    if not progress.rows:
        raise TrainingError(f"{place.path}: the training ended without a checkpoint; run it again")
    best, last = (place.within(checkpoint_name(row["step"])) for row in (progress.best, progress.last))
    return TrainingResult(
        metrics=progress.best,
        final=progress.last,
        best=ray.train.Checkpoint(best.path, best.filesystem),
        last=ray.train.Checkpoint(last.path, last.filesystem),
    )


def _resume(work: Work, place: RunFiles, start: RunFiles | None, generation: int) -> Progress:
    """Load the last checkpoint in ``place``, or ``start``, into the run and return the progress up to there."""
    text = place.read(LATEST)
    try:
        progress = Progress(**json.loads(text)) if text else Progress()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{place.path}/{LATEST}: {error}; delete that folder, its training then starts again") from None
    source = place.within(checkpoint_name(progress.last["step"])) if progress.rows else None
    if start is not None and progress.generation < generation:
        source, progress.generation = start, generation
    if source is not None:
        with source.fetched() as folder:
            work.run.resume(folder)
    progress.rows = [row for row in progress.rows if row["step"] <= work.run.step]
    return progress


def _keep(work: Work, report: Report, progress: Progress, place: RunFiles, begun: int) -> None:
    """Store a report and its checkpoint, then delete the checkpoints that are neither best nor last nor of ``begun``."""
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
        work.save(Path(folder), report)
        place.put(Path(folder), checkpoint_name(report.step))
    progress.rows.append(report.flat())
    old, progress.kept = progress.kept, [*progress.kept, report.step]
    progress.kept = sorted({begun, int(progress.best["step"]), report.step} & set(progress.kept))
    place.write(LATEST, json.dumps(asdict(progress)))
    for step in set(old) - set(progress.kept):
        place.within(checkpoint_name(step)).remove()
