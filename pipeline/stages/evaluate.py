"""``evaluate``: measure the best model on whole test images. Writes figures of rainy and derained images, and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from pipeline.config.project import Project
from pipeline.config.recipe import Evaluate, Recipe
from pipeline.console import say, table
from pipeline.evaluation.evaluator import ImageResult, device_of, open_tests, summary
from pipeline.evaluation.plots import choose, gain_histogram, panel
from pipeline.evaluation.resumed import Evaluation
from rdmc.checkpoint import load_model
from rdmc.data.images import write_png
from rdmc.data.loader import Pair
from rdmc.files import new_folder, write_text
from rdmc.inference import derain_image
from rdmc.metrics import BEST_PSNR


def run(project: Project[Recipe]) -> None:
    """Measure ``checkpoints/best`` on the test pairs of every dataset; write figures per image, their means, and pictures.

    A killed evaluation goes on where it stopped (``pipeline.evaluation.resumed``). Raises DataError where no dataset has test
    pairs, CheckpointError for a bad model, ServiceError for a bucket or a Ray that fails.
    """
    paths, rules = project.paths, project.params.evaluate
    stores, device = open_tests(project), device_of(project.settings)
    network = load_model(paths.best)[0]
    evaluation = Evaluation(project, network, stores, device)
    results = evaluation.results()
    with new_folder(paths.pictures) as folder:
        for name, store in stores.items():
            for index in choose([result.gain for result in results[name]], rules.pictures):
                result = results[name][index]
                picture = _picture(network, store[index], result, rules, device)
                write_png(folder / f"{name}-{result.image}.png", picture)
        gains = {name: [result.gain for result in measurements] for name, measurements in results.items()}
        write_png(folder / "gain.png", gain_histogram(gains))
    write_text(paths.images, images_csv(result for measurements in results.values() for result in measurements))
    write_text(paths.evaluate_metrics, json.dumps(summary(results), indent=2) + "\n")
    evaluation.forget()
    _show(results)
    say(f"every image: {paths.images}, pictures: {paths.pictures}")


def images_csv(results: Iterable[ImageResult]) -> str:
    """A row per image, as CSV for DVC's plots."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for result in results:
        row = {
            "dataset": result.dataset,
            "image": result.image,
            "height": result.height,
            "width": result.width,
            **{f"rainy_{name}": f"{value:.6f}" for name, value in result.rainy.items()},
            **{f"derained_{name}": f"{value:.6f}" for name, value in result.derained.items()},
            "gain_psnr_y": f"{result.gain:.6f}",
            "seconds": f"{result.seconds:.4f}",
        }
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()


def _picture(network: nn.Module, pair: Pair, result: ImageResult, rules: Evaluate, device: torch.device) -> Any:
    derained = derain_image(network, pair.rainy, rules.tile, device)
    return panel(pair.key, pair.rainy, derained, pair.clean, result.rainy, result.derained)


def _show(results: dict[str, list[ImageResult]]) -> None:
    for name, measurements in results.items():
        if same := sum(result.identical for result in measurements):
            say(
                f"{name}: {same} derained images equal their clean ones; their PSNR is infinite, and counts as {BEST_PSNR:g} dB"
            )
    columns = ["", "images", "rainy", "derained", "gain", "SSIM", "derained", "s/image"]
    times = {name: [result.seconds for result in measurements] for name, measurements in results.items()}
    times["overall"] = [seconds for group in times.values() for seconds in group]
    rows = [
        [
            name,
            str(mean["images"]),
            f"{mean['rainy']['psnr_y']:.2f}",
            f"{mean['derained']['psnr_y']:.2f}",
            f"{mean['gain_psnr_y']:+.2f}",
            f"{mean['rainy']['ssim_y']:.4f}",
            f"{mean['derained']['ssim_y']:.4f}",
            f"{sum(times[name]) / len(times[name]):.2f}",
        ]
        for name, mean in summary(results).items()
    ]
    table("evaluate: mean PSNR-Y (dB) and SSIM-Y of the test images", columns, rows)
