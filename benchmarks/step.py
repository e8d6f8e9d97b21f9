"""The training step of the default network: fp32 or bf16 autocast, channels last or first, interleaved in one run.

    python benchmarks/step.py [--width 8] [--batch 4] [--crop 64] [--rounds 5] [--threads 1] [--out FILE.json]

Each variant takes some steps a round, in turn, so that a change of the machine's speed meets all alike; ratios are of medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.console import table
from pipeline.params import read_params
from rdmc.losses import Objective
from rdmc.networks import build

STEPS = 5
VARIANTS = {
    "fp32, channels first": (torch.contiguous_format, False),
    "fp32, channels last": (torch.channels_last, False),
    "bf16, channels first": (torch.contiguous_format, True),
    "bf16, channels last": (torch.channels_last, True),
}


class Stepper:
    """One variant of the step, on the same weights and batch as the others."""

    def __init__(self, width: int, batch: int, crop: int, layout: torch.memory_format, bf16: bool) -> None:
        params = read_params()
        torch.manual_seed(0)
        network = build(replace(params.network, width=width))
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)
        self.objective, self.bf16 = Objective(network, params.loss), bf16
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        self.clean = torch.rand(batch, 3, crop, crop).contiguous(memory_format=layout)
        self.rainy = (self.clean + 0.2 * (torch.rand(batch, 1, crop, crop) > 0.8)).contiguous(memory_format=layout)

    def __call__(self) -> float:
        """Seconds of a step, the mean of some."""
        started = time.perf_counter()
        for _ in range(STEPS):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = self.objective(self.rainy, self.clean)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
        return (time.perf_counter() - started) / STEPS


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 8), ("batch", 4), ("crop", 64), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    steppers = {name: Stepper(arguments.width, arguments.batch, arguments.crop, *variant) for name, variant in VARIANTS.items()}
    for stepper in steppers.values():
        stepper()
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(arguments.rounds):
        for name, stepper in steppers.items():
            times[name].append(stepper())
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    first = medians[next(iter(medians))]
    rows = [
        [name, f"{1e3 * median:.0f}", f"{arguments.batch / median:.0f}", f"{first / median:.2f}"]
        for name, median in medians.items()
    ]
    title = f"training step, width {arguments.width}, {arguments.batch} crops of {arguments.crop}x{arguments.crop}"
    table(f"{title}, {arguments.threads} thread(s)", ["variant", "ms", "crops/s", "speed-up"], rows)
    if arguments.out:
        arguments.out.write_text(json.dumps(times, indent=2) + "\n")


if __name__ == "__main__":
    main()
