"""Check the results of ``make repro``: present, good, reproducible, up to date. Exits at the first failure."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np

from pipeline.config.paths import Paths
from pipeline.config.settings import read_settings
from rdmc.data.loader import PairStore
from rdmc.metrics import psnr_y

GAIN = {"overall": 5.0, "light": 6.0, "heavy": 8.0, "wild": 0.5}
"""The least gain in PSNR-Y over the rainy test images, dB, about 1 to 2 dB below what the default run gains."""


def demand(holds: bool, what: str) -> None:
    """Print a check and its outcome; exit with status 1 where it does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'} {what}")
    if not holds:
        sys.exit(1)


def check_gain(paths: Paths) -> None:
    """The default run improves on its rainy input, on scenes that are not in training."""
    evaluation = json.loads(paths.evaluate_metrics.read_text())
    for name, group in evaluation.items():
        least = GAIN[name]
        gain = group["gain_psnr_y"]
        demand(gain >= least, f"{name}: {gain:+.2f} dB PSNR-Y over {group['images']} test images, at least {least:+.1f}")
        better = group["derained"]["ssim_y"] > group["rainy"]["ssim_y"]
        demand(better, f"{name}: SSIM-Y {group['rainy']['ssim_y']:.4f} -> {group['derained']['ssim_y']:.4f}")
    pictures = sorted(path.name for path in paths.pictures.glob("*.png"))
    demand("gain.png" in pictures and len(pictures) > len(evaluation) - 1, f"pictures: {', '.join(pictures)}")


def check_model(paths: Paths) -> None:
    """In this fresh process, the registered model gives the same figure for an image as the evaluation."""
    registered = json.loads(paths.register_metrics.read_text())
    mlflow.set_tracking_uri(read_settings().tracking_uri)
    uri = f"models:/{registered['model']}@{registered['alias']}"
    version = mlflow.MlflowClient().get_model_version_by_alias(registered["model"], registered["alias"])
    demand(int(version.version) == int(registered["version"]), f"{uri} is version {version.version}, run {version.run_id}")
    pair = PairStore([paths.shards("heavy")], "test")[0]
    derained = mlflow.pyfunc.load_model(uri).predict(pair.rainy[None])[0]
    measured = psnr_y(np.asarray(derained), pair.clean)
    rows = [line.split(",") for line in paths.images.read_text().splitlines()]
    column = rows[0].index("derained_psnr_y")
    written = next(float(row[column]) for row in rows if f"{row[0]}/{row[1]}" == pair.key)
    demand(abs(measured - written) < 1e-3, f"{uri} on {pair.key}: {measured:.4f} dB, evaluated as {written:.4f}")


def check_nothing_to_do() -> None:
    """A second ``dvc repro`` runs no stage."""
    status = subprocess.run(["dvc", "status", "--json"], capture_output=True, text=True, check=True).stdout
    demand(json.loads(status) == {}, "dvc status: up to date")
    started = time.monotonic()
    output = subprocess.run(["dvc", "repro"], capture_output=True, text=True, check=True).stdout
    demand(
        "up to date" in output and "Running stage" not in output,
        f"dvc repro again: {time.monotonic() - started:.1f} s, nothing run",
    )


if __name__ == "__main__":
    check_gain(Paths(Path()))
    check_model(Paths(Path()))
    check_nothing_to_do()
