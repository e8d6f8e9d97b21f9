"""A training of one worker in this very process, for trials: no process to start, and stopped between two steps.

It keeps its checkpoints itself, so that whoever runs it again under the same name goes on, after a kill at any moment too:
``latest.json``, replaced as a whole, names the checkpoints that count, and is written when they lie there and before others go.
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
from rdmc.training.loop import Report

LATEST = "latest.json"


@dataclass
class Progress:
    """How far a training is: what ``latest.json`` holds."""

    generation: int = 0
    """How often it was told to begin from another one's weights."""
    rows: list[Row] = field(default_factory=list)
    """Validated reports, in order."""
    kept: list[int] = field(default_factory=list)
    """Steps whose checkpoints lie here."""

    @property
    def last(self) -> Row:
        """The last one."""
        return self.rows[-1]

    @property
    def best(self) -> Row:
        """The one with the highest PSNR-Y whose checkpoint is kept; the last one where nothing was validated."""
        found = [row for row in self.rows if "psnr_y" in row and row["step"] in self.kept]
        return max(found, key=lambda row: row["psnr_y"], default=self.last)


def checkpoint_name(step: float) -> str:
    """The folder of a step's checkpoint."""
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
    """Train the params of ``project``, from where ``place`` is, to the step ``until`` (0: the last one of the recipe).

    The checkpoint of the step ``begun`` stays meanwhile, for others may begin from it.
    A place of an older ``generation`` begins from the checkpoint ``start``, with the params of now. ``follow`` is called with
    every report that saves, once its checkpoint is kept; with the last one again where this goes on.

    Raises what a training raises, DataError and CheckpointError among them, and ServiceError where the storage fails.
    """
    work = Work.open(project, device, training)
    until = until or project.params.train.steps
    state = _take_up(work, place, start, generation)
    if state.rows and state.last["step"] > begun:
        follow(state.last)  # what was kept just before a kill was perhaps never told
    if work.run.step < until:
        seconds = 0.0
        for report in work.reports():
            seconds += report.step_seconds
            if report.saves:
                _keep(work, replace(report, step_seconds=seconds), state, place, begun)
                follow(state.last)
                seconds = 0.0
            if report.step >= until:
                break
    if not state.rows:
        raise TrainingError(f"{place.path}: the training ended without a checkpoint; run it again")
    best, last = (place.within(checkpoint_name(row["step"])) for row in (state.best, state.last))
    return TrainingResult(
        metrics=state.best,
        final=state.last,
        best=ray.train.Checkpoint(best.path, best.filesystem),
        last=ray.train.Checkpoint(last.path, last.filesystem),
    )


def _take_up(work: Work, place: RunFiles, start: RunFiles | None, generation: int) -> Progress:
    """Where the training is, its run set to that."""
    text = place.read(LATEST)
    try:
        state = Progress(**json.loads(text)) if text else Progress()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{place.path}/{LATEST}: {error}; delete that folder, its training begins anew") from None
    source = place.within(checkpoint_name(state.last["step"])) if state.rows else None
    if start is not None and state.generation < generation:
        source, state.generation = start, generation
    if source is not None:
        with source.fetched() as folder:
            work.run.resume(folder)
    state.rows = [row for row in state.rows if row["step"] <= work.run.step]
    return state


def _keep(work: Work, report: Report, state: Progress, place: RunFiles, begun: int) -> None:
    """Keep a report and its checkpoint, then drop what is neither best nor last nor of ``begun``."""
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
        work.save(Path(folder), report)
        place.put(Path(folder), checkpoint_name(report.step))
    state.rows.append(report.flat())
    old, state.kept = state.kept, [*state.kept, report.step]
    state.kept = sorted({begun, int(state.best["step"]), report.step} & set(state.kept))
    place.write(LATEST, json.dumps(asdict(state)))
    for step in set(old) - set(state.kept):
        place.within(checkpoint_name(step)).remove()
