"""Bring the results of a training home from the bucket into a project; keep those of its evaluation there."""

from __future__ import annotations

import json
from dataclasses import replace

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe, with_architecture
from pipeline.console import say
from pipeline.storage.datasets import open_pairs, with_digests
from pipeline.storage.results import EVALUATED, TRAINED, fetch, files_of, keep, kept_runs
from pipeline.versioning.lineage import code_digest
from rdmc.errors import DataError

SHOWN = 5
"""How many runs an error names."""


def training_name(project: Project[Recipe]) -> str:
    """The name of the training with the project's params, data and code. Raises the errors of ``open_pairs``."""
    from pipeline.stages.train import run_name  # imports Ray, which takes seconds

    project = with_digests(replace(project, params=with_architecture(project.params)))
    return run_name(project.params, [open_pairs(project, "train").digest, code_digest()])


def fetch_results(project: Project[Recipe], run: str, *parts: str) -> None:
    """Fetch the parts of a training's results that the project lacks, or, with ``run``, those of that run.

    Without a name, they are those of the training with this project's params, data and code. Nothing is done without a bucket
    where no run is named: the command then says itself what it lacks.

    Raises DataError where the bucket does not have them, or they are damaged, ConfigError for a run without a bucket, and
    ServiceError where the bucket fails.
    """
    lacking = [part for part in parts if run or not files_of(project.paths, part)[0].exists()]
    if not lacking or not (run or project.settings.bucket):
        return
    name = run or training_name(project)
    for part in lacking:
        if not fetch(project, name, part):
            raise DataError(f"{name}: {project.settings.bucket} has no results of `{part}` for it; {_remedy(project, part)}")
        say(f"{part}: the results of {name} are from {project.settings.bucket}")


def bring_home(project: Project[Recipe], run: str) -> bool:
    """Fetch what the bucket has of a run, the training first, and say so. Returns whether it has the training."""
    if not fetch(project, run, TRAINED):
        return False
    tops = files_of(project.paths, TRAINED) + (files_of(project.paths, EVALUATED) if fetch(project, run, EVALUATED) else [])
    say(f"the results of {run} are here: {', '.join(str(top) for top in tops)}")
    return True


def train_once(project: Project[Recipe]) -> None:
    """Train, or fetch the results where the bucket has those of the same params, data and code. Raises what either raises."""
    name = training_name(project)
    if fetch(project, name, TRAINED):
        say(f"train: nothing has changed since {name}, whose results are in {project.settings.bucket}")
        return
    from pipeline.stages import train

    train.run(project)


def evaluate_and_keep(project: Project[Recipe]) -> None:
    """Evaluate ``checkpoints/best``, and keep the results in the bucket, beside its training. Raises what either raises."""
    from pipeline.stages import evaluate

    evaluate.run(project)
    try:
        run = json.loads(project.paths.run.read_text()).get("name")
    except (OSError, ValueError, AttributeError):
        return  # a model that was not trained here, or by an earlier version
    if run and (kept := keep(project, run, EVALUATED)):
        say(f"results: {kept}")


def _remedy(project: Project[Recipe], part: str) -> str:
    names = kept_runs(project)
    shown = ", ".join(names[-SHOWN:]) + (", …" if len(names) > SHOWN else "")
    return f"run `{part}` first" + (f", or name another with --run: {shown}" if names else "")
