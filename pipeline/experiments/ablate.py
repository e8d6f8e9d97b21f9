"""``ablate``: measure what each part of the recipe contributes.

Every variant is trained with every seed, all in the same way, and measured on the test images.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pipeline.cluster import cluster, require_resources, workers
from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import flatten, trial_params, with_architecture
from pipeline.config.settings import Settings
from pipeline.console import say, table
from pipeline.evaluation.evaluator import device_of, measured, open_tests, summary
from pipeline.evaluation.pages import fill_page, read_page
from pipeline.evaluation.plots import seed_dots
from pipeline.experiments.ablation import (
    Figures,
    Line,
    Score,
    Trial,
    digest_of,
    lines,
    plan,
    read_score,
    variant_params,
    write_score,
)
from pipeline.experiments.ablation_table import MARKERS, conditions, header, markdown, rainy_row, rows
from pipeline.experiments.mlflow_callback import TrialRuns, failure
from pipeline.experiments.trials import cause, forget_trials, grid, like_worker, run_trials
from pipeline.registry.publish import attach_files, open_children
from pipeline.storage.datasets import open_pairs, with_digests
from pipeline.storage.lease import training_lease
from pipeline.storage.s3 import check_bucket
from pipeline.tracking.metric_names import TEST
from pipeline.tracking.run_info import TRAINED, only, run_tags, run_title
from pipeline.tracking.tracker import Tracker
from pipeline.training.checkpoints import TrainingResult
from pipeline.training.worker import Row
from pipeline.versioning.git import commit_tags, git_commit, git_dirty
from pipeline.versioning.lineage import code_digest
from rdmc.checkpoint import load_model
from rdmc.data.images import write_png
from rdmc.data.sampling import local_batch_size
from rdmc.errors import TrainingError
from rdmc.files import write_text


def run(project: Project[Params], fresh: bool = False, write: Path | None = None) -> None:
    """Train the trials that have no result yet, then write the table and the plot of all results, also into the file ``write``.

    A trial has one worker unless the settings say otherwise, because trials run side by side. Raises, before anything starts,
    ConfigError for a variant or a file that cannot be used, or where another process runs an ablation in this project, and
    DataError where there are no pairs to train or to test on; TrainingError, after all other work is done, where one failed.
    """
    project = project.with_params(with_architecture(project.params)).with_workers(project.settings.workers or 1)
    params, settings, paths = project.params, project.settings, project.paths
    check_bucket(settings)
    project = with_digests(project)
    if write:
        read_page(write, MARKERS)
    data, code = open_pairs(project, "train").digest, code_digest()
    trials = plan(params, data, code)
    open_tests(project)
    local_batch_size(params.train.global_batch_size, settings.workers)
    name = f"ablate-{digest_of(trial_params(params, params.ablation.steps, {}), data, code)[:12]}"
    with training_lease(project, name):
        if fresh:
            shutil.rmtree(paths.ablation, ignore_errors=True)
        _run(project, trials, name, write)


def _run(project: Project[Params], trials: list[Trial], name: str, write: Path | None) -> None:
    """Train the trials without a result in the MLflow run of ``name``, and publish all results."""
    params, paths = project.params, project.paths
    todo = _missing(trials, paths)
    say(f"ablate: {len(trials)} trials of {params.ablation.steps} steps, {len(todo)} of them to train")
    commit = commit_tags()
    about = (
        f"Ablation: {', '.join(params.ablation.variants)}, {len(params.ablation.seeds)} seeds each. Its trials are below it."
    )
    tags = {**commit, "stage": "ablate", **run_tags("ablate", about, commit["git_commit"])}
    title = run_title(params.network.kind, params.network.width, list(params.datasets), "ablation")
    shown = only(flatten(params), (*TRAINED, "evaluate", "ablation"))
    with Tracker.start(project.settings, title, shown, tags, run_id=_recall(paths, name)) as parent:
        write_text(paths.ablation / "run.json", json.dumps({"name": name, "run_id": parent.run_id}) + "\n")
        failed = _train(project, todo, parent.run_id) if todo else []
        _end_open(project, trials, parent.run_id)
        _publish(project, trials, parent, write)
        if failed:
            raise TrainingError(
                f"{', '.join(failed)}: failed, the causes are shown above; fix them and run it again, other results are kept"
            )


def _missing(trials: Sequence[Trial], paths: Paths) -> list[Trial]:
    """The trials without a result; of several equal trials only the first."""
    distinct: dict[str, Trial] = {}
    for trial in trials:
        distinct.setdefault(trial.digest, trial)
    return [trial for trial in distinct.values() if read_score(paths.ablation, trial) is None]


def _train(project: Project[Params], todo: list[Trial], parent: str | None) -> list[str]:
    """Run trials and write each result as soon as it arrives. Returns the names of the trials that failed."""
    params, settings = project.params, project.settings
    name = f"ablate-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with (
        cluster(settings, trials=params.ablation.concurrent),
        AblationRuns(todo, params, settings, parent, project.paths.ablation) as runs,
    ):
        require_resources(settings, params.ablation.concurrent)
        say(f"ablate: {params.ablation.concurrent} trials at once, {workers(settings)} worker(s) each")
        space, rules = grid("trial", [trial.name for trial in todo], params.ablation.concurrent)
        results = run_trials(project, _choose, name, space, rules, runs, _finish)
    forget_trials(project, name)
    causes = {result.config["trial"]: cause(result.error) if result.error else failure(result.metrics) for result in results}
    failed = {trial: why for trial, why in causes.items() if why}
    for trial, why in failed.items():
        say(f"{trial} failed: {why}")
    return list(failed)


def _end_open(project: Project[Params], trials: Sequence[Trial], parent: str | None) -> None:
    """End the MLflow runs of trials that are open still, as after a kill, and give them the results that there are."""
    known = {trial.digest: trial for trial in trials}
    for run in open_children(project.settings, parent) if parent else ():
        trial = known.get(run.data.tags.get("digest", ""))
        score = read_score(project.paths.ablation, trial) if trial else None
        tracker = Tracker.start(project.settings, str(run.info.run_name), {}, run_id=run.info.run_id)
        tracker.log(_flat(score) if score else {}, project.params.ablation.steps)
        tracker.finish("FINISHED" if score else "KILLED")


def _choose(params: Params, config: dict[str, Any]) -> Params:
    variant, _, seed = config["trial"].partition("/")
    return variant_params(params, variant, int(seed))


def _finish(project: Project[Params], result: TrainingResult, rows: list[Row]) -> dict[str, Any]:
    figures, machine = like_worker(project.settings, _measure, project, result.last)
    return {"figures": figures, "machine": machine, "seconds": sum(row["step_seconds"] for row in rows)}


def _measure(project: Project[Params], checkpoint: Any) -> tuple[Figures, str]:
    """The figures of a checkpoint's averaged weights over all test images, and the name of the machine that measured them."""
    device = device_of(project.settings)
    with checkpoint.as_directory() as folder:
        network = load_model(Path(folder))[0]
    rules = project.params.evaluate
    results = {name: list(measured(network, store, name, rules, device)) for name, store in open_tests(project).items()}
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    return summary(results), machine


class AblationRuns(TrialRuns):
    """The MLflow runs of an ablation's trials; writes each trial's result as soon as it arrives and shows the progress."""

    def __init__(self, todo: Sequence[Trial], params: Params, settings: Settings, parent: str | None, folder: Path) -> None:
        super().__init__(_choose, params, settings, parent)
        self.todo, self.folder = {trial.name: trial for trial in todo}, folder
        self.started, self.finished = time.monotonic(), set[str]()

    def title(self, trial: Any) -> str:
        """``variant/seed``."""
        return str(trial.config["trial"])

    def identity(self, trial: Any) -> dict[str, str]:
        """The name of the trial, and the digest of what it trains: under the same name, a variant may have changed."""
        return {**super().identity(trial), "digest": self.todo[self.title(trial)].digest}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Log and show a validation; write, log and show a trial's final result."""
        if "figures" not in result:
            super().on_trial_result(iteration, trials, trial, result, **info)
            return
        score = Score(result["figures"], result["seconds"], result["machine"])
        write_score(self.folder, self.todo[self.title(trial)], score)
        self.log(trial, _flat(score), self.params.ablation.steps)
        self.finished.add(self.title(trial))
        done = len(self.finished)
        left = (time.monotonic() - self.started) / done * (len(self.todo) - done) / 60
        overall = score.figures["overall"]
        say(
            f"{self.title(trial)}  test PSNR-Y {overall['derained']['psnr_y']:.2f} dB ({overall['gain_psnr_y']:+.2f}), "
            f"{done} of {len(self.todo)} trials, about {left:.0f} min left"
        )


def _flat(score: Score) -> dict[str, float]:
    """A result as MLflow metrics: ``test/<dataset>/psnr_y`` and so on."""
    flat = {"training_seconds": score.seconds}
    for group, figures in score.figures.items():
        for kind, value in {**figures["derained"], "gain_psnr_y": figures["gain_psnr_y"]}.items():
            flat[f"{TEST}{group}/{kind}"] = value
    return flat


def _publish(project: Project[Params], trials: Sequence[Trial], parent: Tracker, write: Path | None) -> None:
    """Write, show and log the table and the plot of all available results. Raises TrainingError where there is none."""
    params, paths = project.params, project.paths
    known = {trial.name: read_score(paths.ablation, trial) for trial in trials}
    scores = {name: score for name, score in known.items() if score}
    if not scores:
        raise TrainingError("no trial of the ablation succeeded, the causes are shown above; fix them and run it again")
    variants = lines(trials, scores)
    columns, picture, page = header(variants), paths.ablation / "ablation.png", paths.ablation / "table.md"
    cells = [rainy_row(next(iter(scores.values())).figures, columns), *rows(variants)]
    below = conditions(params, trials, scores, _commit())
    write_png(picture, seed_dots({line.variant: line.psnr["overall"].values for line in variants}))
    write_text(page, markdown(columns, cells, below, picture.name))
    if write:
        shown = write.with_suffix(picture.suffix)
        shutil.copyfile(picture, shown)
        fill_page(write, MARKERS, markdown(columns, cells, below, shown.name))
    parent.conclude(_means(variants), params.ablation.steps)
    attach_files(project.settings, parent.run_id, [page, picture])
    table("ablation: test images, mean ± standard deviation over seeds", columns, cells)
    say(f"the table with its conditions: {write or page}")


def _means(variants: Sequence[Line]) -> Mapping[str, float]:
    """The metrics of the parent run: each variant's mean PSNR-Y and its mean difference to the first variant, in dB."""
    return {
        **{f"{line.variant}/psnr_y": line.psnr["overall"].mean for line in variants},
        **{f"{line.variant}/difference_psnr_y": line.difference.mean for line in variants if line.difference.values},
    }


def _recall(paths: Paths, name: str) -> str | None:
    """The MLflow run of the earlier ablation where it has this ``name``, to be resumed or extended; None otherwise."""
    path = paths.ablation / "run.json"
    try:
        earlier = json.loads(path.read_text())
        return str(earlier["run_id"]) if earlier["name"] == name and earlier["run_id"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _commit() -> str:
    commit = git_commit()
    return f"{commit[:8]}{' with changes' if git_dirty() else ''}" if commit else "unknown"
