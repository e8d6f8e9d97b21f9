"""What a sweep costs over the training it does: from a trial's start to its first step, and how busy the slots are.

    python benchmarks/sweep.py [--trials 8] [--slots 2] [--steps 60] [--width 8] [--out FILE.json]

Trains on rendered rain over smooth scenes in a temporary folder, with successive halving off. A trial's overhead is the time
from when the searcher gave it out to its first validation, less what its steps until then took; the first trial of each slot
starts a process, the others take one over. A slot is busy while its trial trains or validates: from a trial's first step to
its last validation. Idle are the starts, and the wait for the next trial; counted from the first trial's start to the end of
the last trial.
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
    """Notes when trials are given out, report and end."""

    events: dict[int, dict[str, float]]

    def __init__(self, *inputs: Any) -> None:
        super().__init__(*inputs)
        type(self).events = {}

    def next(self) -> dict[str, Any] | str | None:
        """As the conductor does."""
        given = super().next()
        if isinstance(given, dict):
            self.events[int(given["trial"])] = {"given": time.monotonic()}
        return given

    def report(self, number: int, result: Any) -> bool:
        """As the conductor does."""
        now, noted = time.monotonic(), self.events[number]
        if "psnr_y" in result:
            noted.setdefault("stepped", now - float(result["step_seconds"]))
            noted["reported"] = now
        return super().report(number, result)


def measure(trials: int, slots: int, steps: int, width: int) -> dict[str, Any]:
    """Run the sweep and sum its events up."""
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
        workspace = Paths(Path(folder))
        make_dataset(workspace, "heavy", {"train": 8, "validation": 1})
        changes = {
            "datasets": {"heavy": {"source": "embedded", "rain": "heavy", "variants": 1}},
            "network.width": width, "train.validate_every": max(1, steps // 4), "tune.trials": trials, "tune.concurrent": slots,
            "tune.steps": steps, "tune.grace_steps": steps, "tune.algorithm": "random",
            "tune.space": {"train.lr": {"loguniform": [1e-4, 1e-2]}},
        }  # fmt: skip
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        with patch.object(tune, "Conductor", Watched):
            tune.run(Project(tiny_params(changes), Settings(workers=1, gpu=False), workspace))
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
