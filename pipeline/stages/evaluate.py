"""``evaluate``: the best model on whole test images; figures, rainy beside derained, and pictures."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipeline.console import say, table, track
from pipeline.params import Evaluate, Params
from pipeline.report import choose, gain_histogram, panel
from pipeline.settings import Settings
from pipeline.storage import fetch_dataset, shard_fetch
from pipeline.workspace import Workspace
from rdmc.checkpoint import load_model
from rdmc.data.images import write_png
from rdmc.data.loader import Pair, PairStore
from rdmc.errors import DataError
from rdmc.files import new_folder, write_text
from rdmc.inference import best_device, derain_image
from rdmc.metrics import Means, measure

CACHE_MB = 16
"""Each image is read once or twice; keeping them gains nothing."""


@dataclass(frozen=True)
class Result:
    """One test image's figures (``rdmc.metrics.measure``) before and after."""

    dataset: str
    image: str
    height: int
    width: int
    rainy: dict[str, float]
    derained: dict[str, float]
    seconds: float

    @property
    def gain(self) -> float:
        """PSNR-Y of the derained image over that of the rainy one, dB."""
        return self.derained["psnr_y"] - self.rainy["psnr_y"]


def run(params: Params, settings: Settings, workspace: Workspace) -> None:
    """Measure ``checkpoints/best`` on every dataset's test pairs; write figures per image, their means, and pictures.

    Raises DataError where no dataset has test pairs, CheckpointError for a bad model, ServiceError for a bucket that fails.
    """
    stores = open_stores(list(params.datasets), settings, workspace)
    device = torch.device("cpu") if settings.gpu is False else best_device()
    network = load_model(workspace.best)[0]
    results = {name: list(_measured(network, store, name, params.evaluate, device)) for name, store in stores.items()}
    with new_folder(workspace.pictures) as folder:
        for name, store in stores.items():
            for index in choose([result.gain for result in results[name]], params.evaluate.pictures):
                found = results[name][index]
                picture = _picture(network, store[index], found, params.evaluate, device)
                write_png(folder / f"{name}-{found.image}.png", picture)
        gains = {name: [result.gain for result in found] for name, found in results.items()}
        write_png(folder / "gain.png", gain_histogram(gains))
    write_text(workspace.images, images_csv(result for found in results.values() for result in found))
    write_text(workspace.evaluate_metrics, json.dumps(summary(results), indent=2) + "\n")
    _show(results)
    say(f"every image: {workspace.images}, pictures: {workspace.pictures}")


def open_stores(datasets: list[str], settings: Settings, workspace: Workspace) -> dict[str, PairStore]:
    """The test pairs of each dataset that has some; says which have none. Raises DataError where none has any."""
    folders = {name: fetch_dataset(settings, workspace, name) for name in datasets}
    fetch = shard_fetch(settings, workspace)
    stores = {name: PairStore([at], "test", CACHE_MB, allow_empty=True, fetch=fetch) for name, at in folders.items()}
    for name, store in stores.items():
        if not len(store):
            say(f"{name}: no test pairs, not evaluated")
    stores = {name: store for name, store in stores.items() if len(store)}
    if not stores:
        raise DataError(f"{', '.join(datasets)}: no test pairs; give one a `test` in params.yaml, then `dvc repro`")
    return stores


def summary(results: dict[str, list[Result]]) -> dict[str, Any]:
    """Means over the images of each dataset and of all; no times, so that equal models give equal figures."""
    groups = {**results, "overall": [result for found in results.values() for result in found]}
    return {name: _means(found) for name, found in groups.items()}


def images_csv(results: Iterable[Result]) -> str:
    """A row per image, as DVC plots it."""
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


def _measured(network: nn.Module, store: PairStore, dataset: str, rules: Evaluate, device: torch.device) -> Iterator[Result]:
    for index in track(range(len(store)), f"evaluate {dataset}"):
        pair = store[index]
        started = time.perf_counter()
        derained = derain_image(network, pair.rainy, rules.tile, device)
        seconds = time.perf_counter() - started
        before, after = measure(pair.rainy, pair.clean), measure(derained, pair.clean)
        height, width = pair.rainy.shape[:2]
        yield Result(dataset, pair.key.partition("/")[2], height, width, before, after, seconds)


def _picture(network: nn.Module, pair: Pair, result: Result, rules: Evaluate, device: torch.device) -> Any:
    derained = derain_image(network, pair.rainy, rules.tile, device)
    return panel(pair.key, pair.rainy, derained, pair.clean, result.rainy, result.derained)


def _means(results: list[Result]) -> dict[str, Any]:
    rainy, derained = Means(), Means()
    for result in results:
        rainy.add(result.rainy)
        derained.add(result.derained)
    before, after = rainy.mean(), derained.mean()
    return {
        "rainy": {name: round(value, 6) for name, value in before.items()},
        "derained": {name: round(value, 6) for name, value in after.items()},
        "gain_psnr_y": round(after["psnr_y"] - before["psnr_y"], 6),
        "images": rainy.count,
    }


def _show(results: dict[str, list[Result]]) -> None:
    columns = ["", "images", "rainy", "derained", "gain", "SSIM", "derained", "s/image"]
    times = {name: [result.seconds for result in found] for name, found in results.items()}
    times["overall"] = [seconds for found in times.values() for seconds in found]
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
