"""The overhead of a sweep: the time from a trial's start to its first step, and how busy the slots are.

    python -m benchmarks.sweep [--trials 8] [--slots 2] [--steps 60] [--width 8] [--out FILE.json]

Trains on rendered rain over smooth scenes in a temporary folder, with successive halving off. A trial's overhead is the time
from its start by the searcher to its first validation, minus the time of its steps until then. The first trial of each slot
starts a process; later trials reuse it. A slot is busy from a trial's first step to its last validation. It is idle while a
trial starts and while it waits for the next one. The whole span runs from the first trial's start to the last trial's end.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import table
from pipeline.experiments import tune
from pipeline.experiments.sweep.ray_tune import SweepController
from tests.support.data import make_dataset, tiny_params


class Watched(SweepController):
    """A controller that notes when trials are started and when they report."""

    events: dict[int, dict[str, float]]

    def __init__(self, *inputs: Any) -> None:
        super().__init__(*inputs)
        type(self).events = {}

    def next(self) -> dict[str, Any] | str | None:
        """Return what the controller returns, and note the time at which it starts a trial."""
        given = super().next()
        if isinstance(given, dict):
            self.events[int(given["trial"])] = {"given": time.monotonic()}
        return given

    def report(self, number: int, result: Any) -> bool:
        """Return what the controller returns, and note the times of a trial's first step and last validation."""
        now, noted = time.monotonic(), self.events[number]
        if "psnr_y" in result:
            noted.setdefault("stepped", now - float(result["step_seconds"]))
            noted["reported"] = now
        return super().report(number, result)


def measure(trials: int, slots: int, steps: int, width: int) -> dict[str, Any]:
    """Run the sweep and return its figures: start-up and training times in seconds, and the slots' occupancy (0 to 1)."""
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
        paths = Paths(Path(folder))
        make_dataset(paths, "heavy", {"train": 8, "validation": 1})
        changes = {
            "datasets": {"heavy": {"source": "embedded", "rain": "heavy", "variants": 1}},
            "network.width": width, "train.validate_every": max(1, steps // 4), "tune.trials": trials, "tune.concurrent": slots,
            "tune.steps": steps, "tune.grace_steps": steps, "tune.algorithm": "random",
            "tune.space": {"train.lr": {"loguniform": [1e-4, 1e-2]}},
        }  # fmt: skip
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        with patch.object(tune, "SweepController", Watched):
            tune.run(Project(tiny_params(changes), Settings(workers=1, gpu=False), paths))
    noted = list(Watched.events.values())
    starts = [event["stepped"] - event["given"] for event in noted]
    busy = sum(event["reported"] - event["stepped"] for event in noted)
    span = max(event["reported"] for event in noted) - min(event["given"] for event in noted)
    return {
        "trials": trials,
        "slots": slots,
        "first_starts_s": starts[:slots],
        "later_starts_s": starts[slots:],
        "training_s": [event["reported"] - event["stepped"] for event in noted],
        "occupancy": busy / (slots * span),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("trials", 8), ("slots", 2), ("steps", 60), ("width", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    found = measure(arguments.trials, arguments.slots, arguments.steps, arguments.width)
    shown = [
        ["start to first step, first trial of a slot", f"{median(found['first_starts_s']):.2f} s"],
        ["start to first step, the other trials", f"{median(found['later_starts_s']):.2f} s"],
        ["training of a trial", f"{median(found['training_s']):.1f} s"],
        ["slots busy", f"{100 * found['occupancy']:.1f} %"],
        ["load of the machine (1 min)", f"{found['load']:.1f}"],
    ]
    table(f"{arguments.trials} trials over {arguments.slots} slots, {os.cpu_count()} cores", ["median", ""], shown)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
