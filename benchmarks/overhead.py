"""What Ray, MLflow and checkpoints cost a training, and what a second worker saves: `train` beside the bare loop.

    make repro                                                        # makes the shards
    python -m benchmarks.overhead [--steps 300] [--save-every 100] [--rounds 1] [--out FILE.json]

Four variants take turns, with the same params, data and batches: the loop of ``rdmc.training`` alone in one process, two such
processes at the same time, which shows what two of the machine's cores can do, `train` with one worker, and `train` with two.
Every process has one thread. Seconds a step are those from the first validation to the last,
with what lies between: validations in all three, checkpoints, MLflow and the driver in `train`. The fixed cost is the
rest of the command. The default saves every 300 steps; this saves more often, so it does not flatter the default.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import torch
from ruamel.yaml import YAML

from pipeline.config.params import Params, read_params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_overrides
from pipeline.config.settings import Settings
from pipeline.console import table
from pipeline.training.worker import Work, training

BARE, TWICE = "the bare loop", "the bare loop, twice at once"
VARIANTS = {BARE: 0, TWICE: 0, "train, one worker": 1, "train, two workers": 2}
"""The number of workers; 0 is without Ray."""
STEP = re.compile(r"step (\d+)/\d+ ")


@dataclass(frozen=True)
class Taken:
    """The times of one training."""

    step: float
    """Seconds a step."""
    fixed: float
    """Seconds of the command beside its steps."""


def chosen(steps: int, save_every: int) -> Params:
    """The params of params.yaml, shortened."""
    return with_overrides(read_params(Path("params.yaml")), {"train.steps": steps, "train.validate_every": save_every})


def bare(params: Params, root: Path) -> None:
    """Train in this process, as a worker does, without saving. Prints a line at each report, as `train` does."""
    work = Work.open(Project(params, Settings(workers=1, gpu=False), Paths(root)), torch.device("cpu"), training)
    for report in work.reports():
        print(f"step {report.step}/{params.train.steps} ", flush=True)


def timed(command: list[str], variables: dict[str, str], save_every: int) -> Taken:
    """Run a training and time its lines of validations. Exits with its output where it fails."""
    begun = time.perf_counter()
    said: list[str] = []
    seen: dict[int, float] = {}
    process = subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in process.stdout or ():
        said.append(line)
        for step in map(int, STEP.findall(line)):
            if step % save_every == 0:  # the terminal has no other reports of `train`
                seen.setdefault(step, time.perf_counter())
    if process.wait():
        raise SystemExit("".join(said[-20:]))
    first, last = min(seen, default=0), max(seen, default=0)
    if first != save_every:
        raise SystemExit(f"the first line is of step {first}; this training was not begun anew")
    a_step = (seen[last] - seen[first]) / (last - first)
    return Taken(a_step, time.perf_counter() - begun - a_step * last)


def measure(variant: str, arguments: argparse.Namespace) -> Taken:
    """Train by a variant. Two trainings at once count as one that takes half the mean time of a step."""
    if variant != TWICE:
        return train(VARIANTS[variant], arguments)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: train(0, arguments), range(2)))
    return Taken(mean(taken.step for taken in both) / 2, mean(taken.fixed for taken in both))


def train(workers: int, arguments: argparse.Namespace) -> Taken:
    """Train once, in a temporary folder with the project's shards and an MLflow store of its own."""
    with tempfile.TemporaryDirectory(prefix="rdmc-") as name:
        root = Path(name)
        (root / "data").mkdir()
        (root / "data/shards").symlink_to(Path("data/shards").absolute())
        params = root / "params.yaml"
        YAML(typ="safe", pure=True).dump(
            chosen(arguments.steps, arguments.save_every).model_dump(mode="json", by_alias=True), params
        )
        variables = {
            "RDMC_DATA": name, "RDMC_GPU": "false", "RDMC_WORKERS": str(max(1, workers)), "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{name}/mlflow.db", "NO_COLOR": "1",
        }  # fmt: skip
        own = [f"--steps={arguments.steps}", f"--save-every={arguments.save_every}", f"--bare={name}"]
        command = ["pipeline", "train", "--params", str(params)] if workers else ["benchmarks.overhead", *own]
        return timed([sys.executable, "-m", *command], variables, arguments.save_every)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("steps", 300), ("save-every", 100), ("rounds", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    if arguments.bare:
        bare(chosen(arguments.steps, arguments.save_every), arguments.bare)
        return
    found: dict[str, list[Taken]] = {variant: [] for variant in VARIANTS}
    for _ in range(arguments.rounds):
        for variant, taken in found.items():
            taken.append(measure(variant, arguments))
            print(f"{variant}: {1e3 * taken[-1].step:.0f} ms a step, {taken[-1].fixed:.1f} s besides", flush=True)
    steps = {variant: median(times.step for times in taken) for variant, taken in found.items()}
    rows = [
        [variant, f"{1e3 * steps[variant]:.0f}", f"{steps[BARE] / steps[variant]:.2f}", f"{median(t.fixed for t in taken):.1f}"]
        for variant, taken in found.items()
    ]
    title = f"{arguments.steps} steps, saved every {arguments.save_every}, {arguments.rounds} rounds, {os.cpu_count()} cores"
    table(title, ["", "ms a step", "speed", "s besides the steps"], rows)
    if arguments.out:
        figures = {variant: [vars(times) for times in taken] for variant, taken in found.items()}
        arguments.out.write_text(json.dumps({**figures, "load": os.getloadavg()[0]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
