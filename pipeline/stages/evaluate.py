"""``evaluate``: measure the best model on whole test images. Writes figures of rainy and derained images, and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.console import say, table
from pipeline.evaluation.evaluator import ImageResult, device_of, open_tests, summary
from pipeline.evaluation.plots import choose, gain_histogram, panel
from pipeline.evaluation.report.evaluation import Shown, evaluation_page, ranked
from pipeline.evaluation.resumed import Evaluation
from pipeline.evaluation.scenes import merged
from pipeline.versioning.git import git_commit
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.data.images import write_png
from rdmc.data.loader import PairStore
from rdmc.files import file_digest, new_folder, write_text
from rdmc.metrics import BEST_PSNR
from rdmc.models.cost import SIDE, cost
from rdmc.quality.conventions import convention

Results = Mapping[str, Sequence[ImageResult]]


def run(project: Project[Recipe]) -> None:
    """Measure ``checkpoints/best`` on the test pairs of every dataset; write figures per image, means, pictures, a report.

    A killed evaluation goes on where it stopped (``pipeline.evaluation.resumed``). Raises DataError where no dataset has test
    pairs, CheckpointError for a bad model, ServiceError for a bucket or a Ray that fails.
    """
    paths = project.paths
    stores = open_tests(project)
    network, facts = load_model(paths.best)
    evaluation = Evaluation(project, network, stores, device_of(project.settings))
    with ThreadPoolExecutor(1) as beside:
        arithmetic = beside.submit(cost, network.config)  # torch imports what takes longer than ten images
        results = evaluation.results()
        histogram = gain_histogram({name: [one.gain for one in measurements] for name, measurements in results.items()})
        with new_folder(paths.pictures) as folder:
            shown = _draw(evaluation, results, project.params.evaluate.pictures, folder)
            write_png(folder / "gain.png", histogram)
        scenes = scenes_by_dataset(stores, results)
        origin = _origin(project, f"{network.config.kind}, {arithmetic.result()}", facts, stores, results)
    write_text(paths.report, evaluation_page(results, scenes, histogram, shown, origin))
    write_text(paths.images, images_csv(results, scenes))
    write_text(paths.evaluate_metrics, json.dumps(summary(results), indent=2) + "\n")
    evaluation.forget()
    _show(results)
    say(f"every image: {paths.images}, pictures: {paths.pictures}, all on one page: {paths.report}")


def _draw(evaluation: Evaluation, results: Results, count: int, folder: Path) -> dict[str, list[Shown]]:
    """Write the pictures of ``count`` images of each dataset, and return the images for the report."""
    shown: dict[str, list[Shown]] = {}
    for name, measurements in results.items():
        gains = [result.gain for result in measurements]
        drawn = set(choose(gains, count))
        ranks = ranked(len(gains), choose(gains, len(gains)))
        wanted = sorted({*drawn, *ranks})
        pixels = evaluation.pictures([(name, index) for index in wanted])
        for index, (pair, derained) in zip(wanted, pixels, strict=True):
            result = measurements[index]
            if index in drawn:
                picture = panel(pair.key, pair.rainy, derained, pair.clean, result.rainy, result.derained)
                write_png(folder / f"{name}-{result.image}.png", picture)
            if index in ranks:
                one = Shown(ranks[index], result, pair.rainy, derained, pair.clean)
                shown.setdefault(name, []).append(one)
    return shown


def scenes_by_dataset(stores: Mapping[str, PairStore], results: Results) -> dict[str, list[str]]:
    """The scene of each image by dataset. Images of one photograph show one scene, in whatever datasets they are."""
    own = [f"{name}/{scene}" for name, store in stores.items() for _, scene in store.labels()]
    scenes = iter(merged(own, [result.clean for name in stores for result in results[name]]))
    return {name: list(islice(scenes, len(store))) for name, store in stores.items()}


def images_csv(results: Results, scenes: Mapping[str, Sequence[str]]) -> str:
    """A row per image, as CSV for DVC's plots and the model card."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    rows = [row for name, group in results.items() for row in zip(group, scenes[name], strict=True)]
    for result, scene in rows:
        row = {
            "dataset": result.dataset,
            "image": result.image,
            "scene": scene,
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


def _origin(
    project: Project[Recipe],
    network: str,
    facts: Mapping[str, Any],
    stores: Mapping[str, PairStore],
    results: Results,
) -> dict[str, str]:
    """What the figures were made from and how, for the report."""
    how = convention("y")
    return {
        "model": f"{network} at {SIDE}x{SIDE}, step {facts.get('step', 'unknown')}",
        "weights, SHA-256": file_digest(project.paths.best / WEIGHTS),
        **{f"{name}, SHA-256": f"{store.digest} ({len(store)} test pairs)" for name, store in stores.items()},
        "convention": f"PSNR-Y and SSIM-Y: {how.meaning} ({how.name}); PSNR-RGB: of the same outputs. {HINT}",
        "computed on": "; ".join(sorted({result.computer for group in results.values() for result in group})),
        "tile": f"{project.params.evaluate.tile} pixels a side",
        "commit": git_commit(Path()) or "unknown",
    }


HINT = "The command compare has the other conventions"


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
