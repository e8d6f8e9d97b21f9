"""The stages of dvc.yaml, except ``register``, in a folder apart from the project's own files.

The folder is ``project.paths.root``, so the project's data, checkpoints and metrics stay as they are. A stopped command
resumes, and steps whose inputs have not changed are skipped.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import fingerprint, with_architecture
from pipeline.config.schema import Strict
from pipeline.profile.steps import Steps
from pipeline.stages import evaluate, leaks, pack, prepare, train
from pipeline.versioning.lineage import code_digest

RECORD = "steps.json"
"""The record of finished steps, in the folder."""


def set_apart(project: Project[Params], name: str) -> Project[Params]:
    """The project as ``run_stages`` takes it: params narrowed to their architecture, and all files below ``runs/name``.

    Raises ConfigError if the architecture cannot be read or does not fit.
    """
    return replace(project, params=with_architecture(project.params), paths=Paths(project.paths.profile(name)))


def run_stages(project: Project[Params]) -> None:
    """Run prepare, leaks, pack, train and evaluate, as dvc.yaml has them, except for what is finished.

    The project comes from ``set_apart``. Raises the errors of the stages.
    """
    params, paths = project.params, project.paths
    code = {stage: code_digest(stage=stage) for stage in ("train", "evaluate")}  # that of now, which the process has imported
    shards = prepared_shards(params, paths)
    steps = Steps(paths.root / RECORD)
    trained = fingerprint(params, dict.fromkeys(("seed", "datasets", "loss", "train"), True))
    made = [paths.best, paths.last, paths.run, paths.train_metrics, paths.history]
    model = steps.run("train", [code["train"], trained, shards], made, partial(train.run, project))
    made = [paths.pictures, paths.report, paths.evaluate_metrics, paths.images]
    steps.run("evaluate", [code["evaluate"], model, shards, _plain(params.evaluate)], made, partial(evaluate.run, project))


def prepared_shards(params: Params, paths: Paths) -> dict[str, str]:
    """Run prepare, leaks and pack, except for what is finished. Returns a digest of each dataset's shards."""
    paths.root.mkdir(parents=True, exist_ok=True)
    steps, code = Steps(paths.root / RECORD), {stage: code_digest(stage=stage) for stage in ("prepare", "leaks", "pack")}
    pairs, shards = {}, {}
    for name, rule in params.datasets.items():
        inputs = [code["prepare"], params.seed, _plain(rule), _plain(params.prepare)]
        work = partial(prepare.run, name, rule, params.prepare, params.seed, paths.pairs(name))
        pairs[name] = steps.run(f"prepare {name}", inputs, [paths.pairs(name)], work)
    inputs = [code["leaks"], pairs, params.leaks.score]
    leaking = steps.run("leaks", inputs, [paths.leaks], partial(leaks.run, params.datasets, params.leaks, paths))
    report: Path | None = paths.leaks if params.leaks.exclude else None
    for name in params.datasets:
        inputs = [code["pack"], pairs[name], leaking if report else "", _plain(params.pack)]
        work = partial(pack.run, name, paths.pairs(name), params.pack, paths.shards(name), report)
        shards[name] = steps.run(f"pack {name}", inputs, [paths.shards(name)], work)
    return shards


def _plain(section: Strict) -> dict[str, Any]:
    return section.model_dump(mode="json")
