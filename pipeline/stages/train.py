"""``train``: shards in, the best model out; one MLflow run from the first step on."""

from __future__ import annotations

import csv
import io
import json
import time

from pipeline.cluster import cluster, workers
from pipeline.config.params import Params, fingerprint, flatten, with_architecture
from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.console import TrainingDisplay, say, table
from pipeline.storage.datasets import check_bucket, fetch_dataset
from pipeline.tracking.tracker import Tracker
from pipeline.training.ray_train import bring_home, forget, launch
from pipeline.training.run_log import RunLog
from pipeline.training.worker import Row
from pipeline.versioning.lineage import code_digest, git_commit, git_dirty
from rdmc.data.shards import read_manifest
from rdmc.files import write_text
from rdmc.models.cost import cost
from rdmc.models.genotype import GENOTYPE, genotype_for

SIDE = 128
"""Pixels a side of the image whose cost is named, as in the papers of this field."""
HISTORY = ("step", "epoch", "loss", "lr", "psnr_y", "ssim_y", "images_per_second")
TERMS = ("pixel", "ssim", "contrastive", "mi_bound")
"""What the loss is made of, in the history where the training has it."""


def run(params: Params, settings: Settings, workspace: Paths) -> None:
    """Train on the cluster of the settings and write the model, its state, its history and its MLflow run."""
    started = time.monotonic()
    params = with_architecture(params)
    check_bucket(settings)
    digests = [read_manifest(fetch_dataset(settings, workspace, name) / "manifest.json").digest for name in params.datasets]
    name = run_name(params, [*digests, code_digest()])
    notes = RunLog(workspace.runs / f"{name}.jsonl")  # of a training that was stopped: it goes on in the same MLflow run
    costs = cost(params.network, SIDE, SIDE)
    with cluster(settings):
        ready = time.monotonic()
        count = workers(settings)
        say(f"train: {params.train.steps} steps of {params.train.global_batch_size} crops on {count} workers, run {name}")
        say(f"train: {params.loss.described}")
        tags = {"git_commit": git_commit() or "unknown", "git_dirty": str(git_dirty()).lower(), "stage": "train"}
        shown = {**flatten(params), "cost.parameters": costs.parameters, f"cost.gflop_{SIDE}x{SIDE}": round(costs.gflop, 4)}
        with (
            Tracker.start(settings, name, shown, tags, run_id=notes.run_id) as tracker,
            TrainingDisplay(params.train.steps) as display,
            notes.following(tracker, display) as follow,
        ):
            if genotype := genotype_for(params.network):
                tracker.attach({GENOTYPE: genotype.to_json()}, genotype.flat())
            outcome = launch(params, settings, workspace, name, follow)
        bring_home(outcome, workspace)
    rows = {int(row["step"]): row for row in (outcome.metrics, outcome.final)} | notes.rows  # Ray knows these two for certain
    if not tracker.sent:
        say("`python -m pipeline register` adds the figures to the run when MLflow answers")
    write_text(workspace.run, json.dumps({"run_id": tracker.run_id}) + "\n")
    write_text(workspace.history, history_csv(rows))
    write_text(workspace.train_metrics, json.dumps(final_metrics(rows, outcome.metrics), indent=2) + "\n")
    if forget(settings, workspace, name):
        notes.path.unlink()
    network = f"{params.network.kind}: {costs} for {SIDE}x{SIDE} pixels"
    _summary(network, rows, outcome.metrics, ready - started, notes.stepping, time.monotonic() - started)


def run_name(params: Params, digests: list[str]) -> str:
    """A name that says what is trained: the same params, data and code give the same one, so a stopped run is found again."""
    return f"train-{fingerprint(params, dict.fromkeys(('seed', 'loss', 'train'), True), *digests)[:12]}"


def history_csv(rows: dict[int, Row]) -> str:
    """A row per validation (or per report, where nothing was validated), as DVC plots it, with the loss's terms that it has."""
    validated = [row for row in rows.values() if "psnr_y" in row] or list(rows.values())
    text = io.StringIO()
    columns = [*HISTORY, *(name for name in TERMS if any(name in row for row in validated))]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(validated, key=lambda row: row["step"]))
    return text.getvalue()


def final_metrics(rows: dict[int, Row], best: Row) -> Row:
    """What ``dvc metrics`` compares: quality only, since speed differs between runs of equal result."""
    last = rows[max(rows)]
    return {
        "steps": last["step"],
        "loss": last["loss"],
        **{f"validation_{key}": best[key] for key in ("psnr_y", "ssim_y") if key in best},
        "best_step": best.get("step", last["step"]),
    }


def _summary(network: str, rows: dict[int, Row], best: Row, start: float, stepping: float, total: float) -> None:
    """Seconds are those of this process: to start Ray, in the training steps that it followed, and in all."""
    last = rows[max(rows)]
    share = 100 * stepping / (total - start)
    time_line = f"{total:.0f} s: Ray up {start:.0f}, training steps {stepping:.0f} ({share:.0f} % of the rest)"
    quality = f"{best.get('psnr_y', float('nan')):.2f} dB at step {best.get('step', last['step']):.0f}"
    lines = [
        ["network", network],
        ["best validation PSNR-Y", quality],
        ["time", time_line],
        ["speed", f"{last['images_per_second']:.0f} images/s"],
    ]
    table("train", ["", ""], lines)
