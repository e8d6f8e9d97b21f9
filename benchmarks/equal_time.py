"""RDMC's default against the baselines: each trains for the same wall-clock time and is tested on the same images.

    python -m benchmarks.equal_time --minutes 10
    python -m benchmarks.equal_time --minutes 0.2 --test 5 --kinds rdmc unet --lr unet=4e-3 --json try.json

First, the steps of all networks are timed in turn in one process, so that a change of the machine's speed affects all of them
equally. The training time divided by the time of a step gives each network's number of steps, and so its cosine schedule.
Then each network is trained and tested in a fresh process by rdmc.training.loop.Run on two threads, with the seed, loss,
batch, crop and averaging of params.yaml and its own learning rate. All training pairs are decoded before the clock starts.
Networks whose results are in the JSON file are skipped, so a stopped run resumes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.config.data import Folders, SideBySide
from pipeline.config.params import Params, read_params
from pipeline.config.paths import Paths
from pipeline.config.recipe import with_overrides
from pipeline.console import say, track
from pipeline.stages import pack, prepare
from rdmc.data.loader import PairStore
from rdmc.errors import ConfigError
from rdmc.files import write_text
from rdmc.inference import derain_image
from rdmc.metrics import Means, measure
from rdmc.models.cost import SIDE, cost
from rdmc.training.loop import Run

DATASET, THREADS = "rain800", 2
RATES = {"rdmc": 4e-3, "prenet": 1e-3, "unet": 4e-3}
BURST, ROUNDS = 2, 6
"""Steps that a network takes per turn while steps are timed, and the number of turns; the first turn is not counted."""
WORK = Path(tempfile.gettempdir()) / "rdmc-equal-time"
CACHE_MB = 4096
LONG = 10**6
"""Steps of a run that never finishes."""


def shards(folder: Path, paths: Paths, params: Params) -> Path:
    """The folder with the shards of the pairs below ``folder``, packed once.

    ``folder`` has ``train/*.jpg`` and ``test/*.jpg``, with the clean image left of the rainy one.
    """
    packed = paths.shards(DATASET)
    if not packed.is_dir():
        train, test = (SideBySide(images=f"{folder.resolve()}/{split}/*.jpg", left="clean") for split in ("train", "test"))
        dataset = Folders(source="folders", train=train, test=test, validation_share=0.0)
        prepare.run(DATASET, dataset, params.prepare, params.seed, paths.pairs(DATASET))
        pack.run(DATASET, paths.pairs(DATASET), params.pack, packed)
    return packed


def training(params: Params, kind: str, lr: float, steps: int) -> Run:
    """A new run of one kind of network: the recipe of the params with its own learning rate and number of steps."""
    chosen = with_overrides(params, {"network.kind": kind})
    warmup = min(params.train.warmup_steps, steps // 10)
    config = replace(
        params.train, lr=lr, steps=steps, warmup_steps=warmup, validate_every=BURST
    )  # reports, as nothing is validated
    return Run(chosen.network, params.loss, config, params.seed)


def decoded(folder: Path) -> PairStore:
    """The training pairs, all decoded in memory."""
    store = PairStore([folder], "train", CACHE_MB)
    for index in track(range(len(store)), "decode"):
        store[index]
    return store


def step_seconds(params: Params, rates: dict[str, float], store: PairStore) -> dict[str, float]:
    """Seconds per step of each network: the median over rounds in which the networks take turns."""
    reports = {kind: training(params, kind, lr, LONG).reports(store, None) for kind, lr in rates.items()}
    times: dict[str, list[float]] = {kind: [] for kind in rates}
    for _ in range(ROUNDS):
        for kind, following in reports.items():
            times[kind].append(params.train.global_batch_size / next(following).images_per_second)
    return {kind: statistics.median(seconds[1:]) for kind, seconds in times.items()}


def train_and_test(params: Params, kind: str, lr: float, steps: int, folder: Path, images: int) -> dict[str, Any]:
    """Train one network in this process and measure its averaged weights on the first ``images`` test pairs (0: all)."""
    store, run = decoded(folder), training(params, kind, lr, steps)
    started = time.perf_counter()
    losses = [report.loss for report in run.reports(store, None)]
    seconds = time.perf_counter() - started
    test, rainy, derained = PairStore([folder], "test", CACHE_MB), Means(), Means()
    for index in range(min(images or len(test), len(test))):
        pair = test[index]
        rainy.add(measure(pair.rainy, pair.clean))
        derained.add(measure(derain_image(run.average, pair.rainy), pair.clean))
    return {
        "network": asdict(run.network.config),
        "lr": lr,
        "steps": steps,
        "seconds": seconds,
        "loss": losses[-1],
        **asdict(cost(run.network.config)),
        "images": derained.count,
        "rainy": rainy.mean(),
        "derained": derained.mean(),
    }


def in_fresh_process(arguments: argparse.Namespace, kind: str, lr: float, steps: int) -> dict[str, Any]:
    """The result of ``train_and_test`` in a new interpreter."""
    command = [sys.executable, "-m", "benchmarks.equal_time", "--one", kind, str(lr), str(steps)]
    command += [f"--{name}={getattr(arguments, name)}" for name in ("pairs", "work", "params", "test")]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def markdown(state: dict[str, Any]) -> str:
    """The results as a Markdown table, PSNR in dB; the first row has the rainy images."""
    head = [
        "network",
        "parameters",
        f"GFLOP {SIDE}x{SIDE}",
        "lr",
        "ms a step",
        "steps",
        "seconds",
        "PSNR RGB",
        "PSNR-Y",
        "SSIM-Y",
    ]
    rows = [head, ["---"] * len(head)]
    for kind, found in state["networks"].items():
        if len(rows) == 2:
            rows.append(["rainy", *[""] * 6, *_figures(found["rainy"])])
        size = [f"{found['parameters'] / 1e3:.0f} k", f"{found['gflop']:.2f}", f"{found['lr']:g}"]
        took = [f"{1e3 * state['step_seconds'][kind]:.0f}", str(found["steps"]), f"{found['seconds']:.0f}"]
        rows.append([kind, *size, *took, *_figures(found["derained"])])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figures(means: dict[str, float]) -> list[str]:
    return [f"{means['psnr_rgb']:.2f}", f"{means['psnr_y']:.2f}", f"{means['ssim_y']:.4f}"]


def compare(arguments: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Time all networks, then train and test those without results; every result is written immediately."""
    rates = {kind: arguments.lr.get(kind, RATES[kind]) for kind in arguments.kinds}
    recipe = params.model_dump(mode="json", include={"seed", "loss", "train", "network_"})
    settings = {"minutes": arguments.minutes, "test": arguments.test, "threads": THREADS, "params": recipe}
    state: dict[str, Any] = {"settings": settings, "step_seconds": {}, "networks": {}}
    if arguments.json.is_file():
        state = json.loads(arguments.json.read_text())
        if state["settings"] != settings:
            raise ConfigError(f"{arguments.json}: has results with other settings; name another file with --json")
    folder = shards(arguments.pairs, Paths(arguments.work), params)
    if rates.keys() - state["step_seconds"].keys():
        state["step_seconds"] |= step_seconds(params, rates, decoded(folder))
        write_text(arguments.json, json.dumps(state, indent=2) + "\n")
    for kind, lr in rates.items():
        if kind not in state["networks"]:
            steps = max(1, round(60 * arguments.minutes / state["step_seconds"][kind]))
            say(f"{kind}: {steps} steps of {1e3 * state['step_seconds'][kind]:.0f} ms")
            state["networks"][kind] = in_fresh_process(arguments, kind, lr, steps)
            write_text(arguments.json, json.dumps(state, indent=2) + "\n")
    return state


def _rate(text: str) -> tuple[str, float]:
    kind, _, lr = text.partition("=")
    return kind, float(lr)


def main() -> None:
    """Measure, print a table in Markdown, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each network")
    parser.add_argument("--kinds", nargs="+", choices=list(RATES), default=list(RATES), help="networks, by their kinds")
    parser.add_argument("--lr", type=_rate, nargs="*", default=[], help=f"learning rates, as kind=rate; else {RATES}")
    parser.add_argument("--pairs", type=Path, default=Path("../shared/data/rain800"), help="folder with train/ and test/")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for pairs and shards; kept")
    parser.add_argument("--json", type=Path, help="results, also those of a run to resume; else equal-time.json in --work")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the recipe, and the networks' shapes")
    parser.add_argument("--test", type=int, default=0, help="test only on this many images")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "LR", "STEPS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.lr, arguments.json = dict(arguments.lr), arguments.json or arguments.work / "equal-time.json"
    torch.set_num_threads(THREADS)
    params = read_params(arguments.params)
    if arguments.one:
        kind, lr, steps = arguments.one
        folder = shards(arguments.pairs, Paths(arguments.work), params)
        print(json.dumps(train_and_test(params, kind, float(lr), int(steps), folder, arguments.test)))
        return
    say(markdown(compare(arguments, params)))


if __name__ == "__main__":
    main()
