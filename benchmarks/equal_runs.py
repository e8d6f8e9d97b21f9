"""The runs of benchmarks.equal_time: networks and their recipes, pairs, the timing of steps, and one training with its test."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.config.params import Params, parse_params
from pipeline.config.paths import Paths
from pipeline.config.recipe import trial_params, with_architecture, with_overrides
from pipeline.console import track
from pipeline.profile.stages import prepared_shards
from rdmc.data.loader import PairStore
from rdmc.errors import ConfigError, one_line
from rdmc.inference import derain_image
from rdmc.metrics import Means, measure
from rdmc.models.cost import cost
from rdmc.training.loop import Run

THREADS = 2
RATES = {"prenet": 1e-3, "unet": 2e-3}
"""Peak learning rates of the baselines. RDMC has that of the params. At 4e-3 the U-Net diverges or dies with some seeds on the
embedded data."""
BURST, ROUNDS = 2, 6
"""Steps that a network takes per turn while steps are timed, and the number of turns; the first turn is not counted."""
CACHE_MB = 4096
LONG = 10**6
"""Steps of a run that never finishes."""
OVERALL = "overall"
"""The test images of all datasets together, each counted once."""


@dataclass(frozen=True)
class Entry:
    """A network of the comparison: a kind, or a variant of the params."""

    overrides: dict[str, Any]
    """The dotted params that differ from the file."""
    lr: float

    def recipe(self, params: Params, seed: int, steps: int) -> Params:
        """The params of its training with a seed and a number of steps; the warm-up is at most a tenth of the steps."""
        return with_architecture(trial_params(params, steps, {**self.overrides, "seed": seed, "train.lr": self.lr}))


def entry(params: Params, overrides: Mapping[str, Any], lr: float | None = None) -> Entry:
    """The entry of some params that differ: its rate is ``lr``, else the one among ``overrides``, else that of its kind."""
    changed = with_overrides(params, overrides)
    usual = changed.train.lr if "train.lr" in overrides else RATES.get(changed.network.kind, params.train.lr)
    return Entry({name: value for name, value in overrides.items() if name != "train.lr"}, usual if lr is None else lr)


def parse_overrides(text: str) -> dict[str, Any]:
    """The params in ``key=value,key=value``, each value in YAML: ``network.passes=1,network.dilations=[1,1,1]``."""
    found = {}
    for part in re.split(r",(?=[\w.]+=)", text):
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"{part!r}: is not key=value; write for example network.passes=1,train.lr=1e-3")
        try:
            found[key] = YAML(typ="safe", pure=True).load(value)
        except YAMLError as error:
            raise ConfigError(f"{part!r}: the value is not YAML ({one_line(error)}); fix it") from None
    return found


def with_rain800(params: Params, folder: Path, share: float) -> Params:
    """The params with Rain800 in place of their datasets.

    ``folder`` has ``train/*.jpg`` and ``test/*.jpg``, the clean image left of the rainy one. A ``share`` of the training scenes
    is for validation.
    """
    train, test = ({"images": f"{folder.resolve()}/{split}/*.jpg", "left": "clean"} for split in ("train", "test"))
    data = params.model_dump(mode="json", by_alias=True)
    data["datasets"] = {"rain800": {"source": "folders", "train": train, "test": test, "validation_share": share}}
    data["train"]["weights"] = {}
    return parse_params(data, "rain800")


def shards(params: Params, work: Path) -> tuple[list[Path], dict[str, str]]:
    """The folders of the datasets' shards below ``work`` and the digest of each; what is there and unchanged stays."""
    paths = Paths(work)
    digests = prepared_shards(params, paths)
    return [paths.shards(name) for name in params.datasets], digests


def decoded(folders: Sequence[Path]) -> PairStore:
    """The training pairs, all decoded in memory."""
    store = PairStore(folders, "train", CACHE_MB)
    for index in track(range(len(store)), "decode"):
        store[index]
    return store


def training(params: Params, device: str = "cpu") -> Run:
    """A new run of the params' network. A GPU multiplies fp32 with all its digits, so that its results are those of a CPU."""
    run = Run(params.network, params.loss, params.train, params.seed, torch.device(device))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return run


def step_seconds(recipes: Mapping[str, Params], store: PairStore) -> dict[str, float]:
    """Seconds per step of each network: the median over rounds in which the networks take turns."""
    reports, times = {}, {}
    for name, params in recipes.items():
        run = training(params)
        run.config = replace(run.config, validate_every=BURST)  # a report per turn, as nothing is validated
        reports[name], times[name] = run.reports(store, None), list[float]()
    for _ in range(ROUNDS):
        for name, following in reports.items():
            times[name].append(recipes[name].train.global_batch_size / next(following).images_per_second)
    for following in reports.values():
        following.close()
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def train_and_test(params: Params, folders: Sequence[Path], split: str, images: int, device: str = "cpu") -> dict[str, Any]:
    """Train the params' network in this process and measure its averaged weights.

    They are measured on the first ``images`` pairs (0: all) of each dataset's ``split``.
    """
    store, run = decoded(folders), training(params, device)
    started = time.perf_counter()
    losses = [report.loss for report in run.reports(store, None)]
    seconds = time.perf_counter() - started
    return {
        "network": asdict(run.network.config),
        "lr": params.train.lr,
        "steps": params.train.steps,
        "seconds": seconds,
        "loss": losses[-1],
        **asdict(cost(run.network.config)),
        "datasets": tested(run.average, folders, split, images, params.evaluate.tile, device),
    }


def tested(
    network: torch.nn.Module, folders: Sequence[Path], split: str, images: int, tile: int, device: str
) -> dict[str, Any]:
    """The figures of a network by dataset, and over all images where there are several datasets.

    ``rainy`` and ``derained`` are means over the images, ``gains`` the gain in PSNR-Y (dB) of each image.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        store = PairStore([folder], split, allow_empty=True)
        for index in range(min(images or len(store), len(store))):
            pair = store[index]
            sides = measure(pair.rainy, pair.clean), measure(derain_image(network, pair.rainy, tile, device), pair.clean)
            for name in (pair.dataset, OVERALL):
                one = found.setdefault(name, {"rainy": Means(), "derained": Means(), "gains": {}})
                one["rainy"].add(sides[0])
                one["derained"].add(sides[1])
                one["gains"][pair.key] = sides[1]["psnr_y"] - sides[0]["psnr_y"]
    if not found:
        raise ConfigError(f"{split}: no dataset has such images; choose the other --split")
    overall = found.pop(OVERALL)
    chosen = {**found, OVERALL: overall} if len(found) > 1 else found
    return {name: {**one, "rainy": one["rainy"].mean(), "derained": one["derained"].mean()} for name, one in chosen.items()}


def in_fresh_process(params: Params, folders: Iterable[Path], split: str, images: int, device: str = "cpu") -> dict[str, Any]:
    """The result of ``train_and_test`` in a new interpreter."""
    job = {
        "params": params.model_dump(mode="json", by_alias=True),
        "folders": [str(folder) for folder in folders],
        "split": split,
        "images": images,
        "device": device,
    }
    command = [sys.executable, "-m", "benchmarks.equal_runs"]
    done = subprocess.run(command, input=json.dumps(job), check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # the lines before it are for a reader
    return found


def main() -> None:
    """Read a job of ``in_fresh_process`` from standard input and print its result as JSON."""
    torch.set_num_threads(THREADS)
    job = json.load(sys.stdin)
    folders = [Path(folder) for folder in job["folders"]]
    params = parse_params(job["params"], "job")
    print(json.dumps(train_and_test(params, folders, job["split"], job["images"], job["device"])))


if __name__ == "__main__":
    main()
