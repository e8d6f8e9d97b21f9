"""``train``: train on the shards and write the best model; one MLflow run from the first step on."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.cluster import cluster, fewest_workers, workers
from pipeline.config.project import Project
from pipeline.config.recipe import Recipe, fingerprint, flatten, with_architecture
from pipeline.console import TrainingDisplay, say, table
from pipeline.storage.datasets import open_pairs, with_digests
from pipeline.storage.lease import training_lease
from pipeline.storage.results import TRAINED as RESULTS
from pipeline.storage.results import keep
from pipeline.storage.runs import run_files
from pipeline.storage.s3 import check_bucket
from pipeline.tracking.exposition import TrainingMetrics, exposed
from pipeline.tracking.links import curves_page, run_page, show_pages
from pipeline.tracking.run_info import TRAINED, UNSENT, only, run_tags, run_title
from pipeline.tracking.tracker import Tracker
from pipeline.training.checkpoints import bring_home, forget, resume_point
from pipeline.training.ray_train import launch
from pipeline.training.run_log import RunLog
from pipeline.training.worker import Row
from pipeline.versioning.git import commit_tags
from pipeline.versioning.lineage import code_digest, job_lineage
from rdmc.errors import ServiceError
from rdmc.files import write_text
from rdmc.models.cost import SIDE, cost
from rdmc.models.genotype import GENOTYPE, genotype_for

HISTORY = ("step", "epoch", "loss", "lr", "psnr_y", "ssim_y")
"""Columns that equal runs fill equally. MLflow has the speed."""
UNKNOWN = "not measured: no validation pairs"
TERMS = ("pixel", "ssim", "contrastive", "mi_bound")
"""Terms of the loss; the history has those that the training reports."""


def run(project: Project[Recipe]) -> None:
    """Train on the cluster of the settings and write the model, its state, its history and its MLflow run."""
    started = time.monotonic()
    project = project.with_params(with_architecture(project.params))
    params, settings = project.params, project.settings
    check_bucket(settings)
    project = with_digests(project)  # workers may lie on other machines, without dvc.lock
    pairs, validation = open_pairs(project, "train"), open_pairs(project, "validation", allow_empty=True)
    name = run_name(params, [pairs.digest, code_digest()])
    with training_lease(project, name):  # a second training would delete the checkpoints of the first
        _train(project, name, len(validation) > 0, started)


def _train(project: Project[Recipe], name: str, validates: bool, started: float) -> None:
    """Train as ``name``, write the results, and delete the run from Ray's storage. ``started``: the command's start (s)."""
    params, settings, paths = project.params, project.settings, project.paths
    log = RunLog(run_files(project).at_once(), name)  # a training that was stopped resumes in the same MLflow run
    with _resumable(project, name), cluster(settings):
        ready = time.monotonic()
        most, fewest = workers(settings), fewest_workers(settings)
        count = f"{most} workers" if fewest == most else f"{fewest} to {most} workers"
        say(f"train: {params.train.steps} steps of {params.train.global_batch_size} crops on {count}, run {name}")
        say(f"train: {params.loss.described}")
        if not validates:
            say("train: no validation pairs, so the weights of the last step are taken; `dvc repro prepare` says why")
        commit = commit_tags()
        tags = {**commit, "stage": "train", **run_tags("train", _about(params, name), commit["git_commit"])}
        title = run_title(params.network.kind, params.network.width, list(params.datasets))
        metrics = TrainingMetrics(name, params.train.steps, params.train.global_batch_size)
        with (
            Tracker.start(settings, title, _shown(params), tags, run_id=log.run_id) as tracker,
            TrainingDisplay(params.train.steps) as display,
            exposed(metrics, settings),
            log.following(tracker, display, metrics) as follow,
        ):
            if genotype := genotype_for(params.network):
                tracker.attach({GENOTYPE: genotype.to_json()}, genotype.flat())
            result = launch(project, name, follow, validates=validates, restarted=metrics.restarted)
        bring_home(result, paths)
    rows = {
        int(row["step"]): row for row in (result.metrics, result.final)
    } | log.rows  # the log may lack these two after a kill
    facts: dict[str, Any] = {"run_id": tracker.run_id, "name": name, **job_lineage(settings)}
    if not tracker.sent:
        facts[UNSENT] = [rows[step] for step in sorted(rows)]
        say("`python -m pipeline register` adds the figures to the run and ends it when MLflow answers")
    write_text(paths.run, json.dumps(facts) + "\n")
    write_text(paths.history, history_csv(rows))
    write_text(paths.train_metrics, json.dumps(final_metrics(rows, result.metrics), indent=2) + "\n")
    if kept := keep(project, name, RESULTS):  # before its checkpoints are deleted: in a job, no other copy stays
        say(f"results: {kept}")
    if forget(project, name):
        log.drop()
    network = f"{params.network.kind}: {cost(params.network)} for {SIDE}x{SIDE} pixels"
    _summary(network, rows, result.metrics, ready - started, log.stepping, time.monotonic() - started)
    if tracker.run_id and tracker.experiment_id:
        at = tracker.experiment_id
        show_pages(settings, {"run": run_page(at, tracker.run_id), "curves": curves_page(at, tracker.run_id)})


@contextmanager
def _resumable(project: Project[Recipe], name: str) -> Iterator[None]:
    """Note how to resume the training if the block is stopped. Ray, which may save one more checkpoint, ends within it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(_to_resume(project, name))
        raise


def _to_resume(project: Project[Recipe], name: str) -> str:
    """What the next command does with a training that was stopped."""
    with suppress(ServiceError):
        if found := resume_point(run_files(project, name).at_once()):
            return f"run the same command again, it resumes from step {found[0]} of {project.params.train.steps}"
    return "run the same command again; nothing was saved yet, so it starts at the first step"


def run_name(params: Recipe, digests: list[str]) -> str:
    """A name derived from params, data and code. Equal inputs give the same name, so a stopped run is found again."""
    return f"train-{fingerprint(params, dict.fromkeys(('seed', 'loss', 'train'), True), *digests)[:12]}"


def _shown(params: Recipe) -> dict[str, Any]:
    """The params that a training depends on, as the MLflow run shows them, with the cost of the network."""
    price = cost(params.network)
    costs = {"cost.parameters": price.parameters, f"cost.gflop_{SIDE}x{SIDE}": round(price.gflop, 4)}
    return {**only(flatten(params), TRAINED), **costs}


def _about(params: Recipe, name: str) -> str:
    """The description of the run in MLflow: what is trained, on what, for how long. ``name``: that of the launch."""
    rules = params.train
    return (
        f"Training of {params.network.kind} ({cost(params.network)} for {SIDE}x{SIDE} pixels) on {', '.join(params.datasets)}: "
        f"{rules.steps} steps of {rules.global_batch_size} crops of {rules.crop}x{rules.crop} pixels, seed {params.seed}. "
        f"On the terminal it is `{name}`."
    )


def history_csv(rows: dict[int, Row]) -> str:
    """A row per validation, or per report where nothing was validated, as CSV for DVC's plots, with the reported loss terms."""
    validated = [row for row in rows.values() if "psnr_y" in row] or list(rows.values())
    text = io.StringIO()
    columns = [*HISTORY, *(name for name in TERMS if any(name in row for row in validated))]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(validated, key=lambda row: row["step"]))
    return text.getvalue()


def final_metrics(rows: dict[int, Row], best: Row) -> Row:
    """The metrics that ``dvc metrics`` compares: quality only, because speed differs between runs with equal results."""
    last = rows[max(rows)]
    return {
        "steps": last["step"],
        "loss": last["loss"],
        **{f"validation_{key}": best[key] for key in ("psnr_y", "ssim_y") if key in best},
        "best_step": best.get("step", last["step"]),
    }


def _summary(network: str, rows: dict[int, Row], best: Row, start: float, stepping: float, total: float) -> None:
    """Show a table. The times are seconds of this process: to start Ray, in the steps that it followed, and in total."""
    last = rows[max(rows)]
    share = 100 * stepping / (total - start)
    time_line = f"{total:.0f} s: Ray up {start:.0f}, training steps {stepping:.0f} ({share:.0f} % of the rest)"
    quality = f"{best['psnr_y']:.2f} dB at step {best.get('step', last['step']):.0f}" if "psnr_y" in best else UNKNOWN
    lines = [
        ["network", network],
        ["best validation PSNR-Y", quality],
        ["time", time_line],
        ["speed", f"{last['images_per_second']:.0f} images/s"],
    ]
    table("train", ["", ""], lines)
