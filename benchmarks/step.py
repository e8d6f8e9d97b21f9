"""The training step compared with a straightforward one: the same weights and batch, fp32, channels first, run eagerly.

    python -m benchmarks.step [--width 16] [--stem 1] [--passes 3] [--batch 4] [--crop 64] [--rounds 5] [--threads 1]
    python -m benchmarks.step --default         # the network of params.yaml
    python -m benchmarks.step --memory --width 32 --crop 128 --batch 8

The variants take turns with a few steps per round, so that a change of the machine's speed affects all of them equally;
ratios are ratios of medians. The last column is the speed as a share of the ceiling, the greater speed of a large matrix
product and a large convolution in the same run.
``--memory`` compares the peak memory of a step with and without recomputation, each in a separate process. A GPU is used
where there is one.

All variants unroll the recursion except those named truncated (``loss.recursion``), which learn the same passes with fewer
operations, by another loss.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config.params import read_params
from pipeline.console import say, table
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.losses import Objective

REFERENCE = "straightforward: fp32, channels first"
LAST, FIRST = torch.channels_last, torch.contiguous_format
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class TwoInterpolations(nn.Module):
    """The upsampling mix in its simplest form: both interpolations, weighted and added."""

    def __init__(self, mix: Tensor) -> None:
        super().__init__()
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 2H, 2W)."""
        smooth, sharp = (F.interpolate(x, scale_factor=2, mode=mode, align_corners=False) for mode in ("bilinear", "bicubic"))
        shares = self.mix.softmax(0)
        return shares[0] * smooth + shares[1] * sharp


class Stepper:
    """One variant of the step, with the same weights and batch as the others."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        layout: torch.memory_format,
        bf16: bool = False,
        plain: bool = False,
        compiled: bool = False,
        recursion: str = "unrolled",
    ) -> None:
        torch.manual_seed(0)
        network = RDMC(shape(arguments)).to(DEVICE)
        network.recompute = arguments.recompute
        if plain:
            network.add_module("upsample", TwoInterpolations(network.upsample.mix))
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)
        self.bf16, self.losses = bf16, [0.0]
        objective = Objective(network, replace(read_params().loss, recursion=recursion))
        self.objective: Callable[[Tensor, Tensor], dict[str, Tensor]] = torch.compile(objective) if compiled else objective
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=not plain)
        generator = torch.Generator().manual_seed(1)
        size = (arguments.batch, 3, arguments.crop, arguments.crop)
        self.clean = torch.rand(size, generator=generator).to(DEVICE, memory_format=layout)
        rain = 0.2 * (torch.rand(size[0], 1, *size[2:], generator=generator) > 0.8).to(DEVICE)
        self.rainy = (self.clean + rain).contiguous(memory_format=layout)

    def step(self) -> None:
        """Take one optimiser step and append its loss to ``losses``."""
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.bf16):
            loss = self.objective(self.rainy, self.clean)["loss"]
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.losses.append(loss.item())

    def seconds(self, steps: int) -> float:
        """Mean seconds per step over ``steps`` steps."""
        started = time.perf_counter()
        for _ in range(steps):
            self.step()
        return (time.perf_counter() - started) / steps


def shape(arguments: argparse.Namespace) -> RDMCConfig:
    """The network that the options name. Exits where params.yaml has another kind."""
    if not arguments.default:
        return RDMCConfig(width=arguments.width, passes=arguments.passes, stem=arguments.stem)
    config = read_params(Path("params.yaml")).network
    if not isinstance(config, RDMCConfig):
        raise SystemExit(f"network.kind: {config.kind} is not rdmc, which --default measures")
    return config


def variants(arguments: argparse.Namespace) -> dict[str, Stepper]:
    """The variants to compare; the first is the reference."""
    found = {
        REFERENCE: Stepper(arguments, FIRST, plain=True),
        "fp32, channels first": Stepper(arguments, FIRST),
        "fp32, channels last": Stepper(arguments, LAST),
        "fp32, channels last, truncated": Stepper(arguments, LAST, recursion="truncated"),
        "bf16, channels first": Stepper(arguments, FIRST, bf16=True),
        "bf16, channels last": Stepper(arguments, LAST, bf16=True),
    }
    if DEVICE == "cuda":
        found["bf16, channels last, compiled"] = Stepper(arguments, LAST, bf16=True, compiled=True)
    return found


def ceilings(bf16: bool) -> dict[str, float]:
    """FLOP/s of a large matrix product and of a large convolution in this process."""
    dtype, side, channels, pixels = torch.bfloat16 if bf16 else torch.float32, 2048, 128, 64
    a = torch.rand(side, side, device=DEVICE, dtype=dtype)
    x = torch.rand(4, channels, pixels, pixels, device=DEVICE, dtype=dtype).contiguous(memory_format=LAST)
    weight = torch.rand(channels, channels, 3, 3, device=DEVICE, dtype=dtype).contiguous(memory_format=LAST)
    return {
        "matrix product": _fastest(lambda: a @ a, 2 * side**3),
        "convolution": _fastest(lambda: F.conv2d(x, weight, padding=1), 2 * 4 * pixels**2 * 9 * channels**2),
    }


def _fastest(work: Callable[[], Tensor], operations: int) -> float:
    times = []
    for _ in range(6):
        started = time.perf_counter()
        work().flatten()[0].item()
        times.append(time.perf_counter() - started)
    return operations / min(times)


def counted(stepper: Stepper) -> int:
    """Floating point operations of a step."""
    with FlopCounterMode(display=False) as counter:
        stepper.step()
    return int(counter.get_total_flops())


def compare(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Time the variants in turn, print a table and return the seconds of each round."""
    steppers = variants(arguments)
    flops = {name: counted(stepper) for name, stepper in steppers.items()}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for stepper in steppers.values():
        stepper.seconds(2)
    for _ in range(arguments.rounds):
        for name, stepper in steppers.items():
            times[name].append(stepper.seconds(arguments.steps))
    found = {bf16: ceilings(bf16) for bf16 in (False, True)}
    tops = {bf16: max(speeds.values()) for bf16, speeds in found.items()}
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    rows = [
        [
            name,
            f"{1e3 * median:.0f}",
            f"{arguments.batch / median:.1f}",
            f"{medians[REFERENCE] / median:.2f}",
            f"{steppers[name].losses[2]:.5f}",
            f"{flops[name] / median / tops[steppers[name].bf16]:.0%}",
        ]
        for name, median in medians.items()
    ]
    form = shape(arguments)
    title = (
        f"{form.form}, width {form.width}, {form.passes} passes, stem {form.stem}, {arguments.batch} crops of "
        f"{arguments.crop}x{arguments.crop}, {flops[REFERENCE] / 1e9:.0f} GFLOP, {DEVICE}, {arguments.threads} thread(s)"
    )
    table(title, ["variant", "ms", "crops/s", "speed-up", "2nd loss", "of ceiling"], rows)
    for bf16, speeds in found.items():
        words = ", ".join(f"{name} {speed / 1e9:.0f} GFLOP/s" for name, speed in speeds.items())
        say(f"ceiling in {'bf16' if bf16 else 'fp32'}: {words}")
    return times


def memory(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Peak MiB of two steps above the memory of the process before them: activations kept, recomputed, truncated."""
    found: dict[str, list[float]] = {}
    for name, flags in (("kept", []), ("recomputed", ["--recompute"]), ("truncated", ["--truncated"])):
        command = [sys.executable, "-m", "benchmarks.step", "--peak", *flags]
        command += ["--default"] if arguments.default else []
        command += [f"--{key}={getattr(arguments, key)}" for key in ("width", "passes", "stem", "batch", "crop", "threads")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = [float(figure) for figure in done.stdout.split()]
    rows = [
        [name, f"{peak:.0f}", f"{found['kept'][0] / peak:.2f}", f"{seconds:.2f}"] for name, (peak, seconds) in found.items()
    ]
    form = shape(arguments)
    title = (
        f"{form.form}, width {form.width}, {form.passes} passes, {arguments.batch} crops of {arguments.crop}x{arguments.crop}"
    )
    table(f"{title}: peak memory of a training step", ["activations", "MiB", "times less", "s/step"], rows)
    return found


def peak(arguments: argparse.Namespace) -> None:
    """Run two steps in this process, started by ``memory``; print their peak in MiB and the seconds of the second."""
    stepper = Stepper(arguments, LAST, recursion="truncated" if arguments.truncated else "unrolled")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    stepper.step()
    seconds = stepper.seconds(1)
    if DEVICE == "cuda":
        print(torch.cuda.max_memory_allocated() / 2**20, seconds)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before, seconds)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"width": 16, "passes": 3, "stem": 1, "batch": 4, "crop": 64, "rounds": 5, "steps": 1, "threads": 1}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--default", action="store_true", help="the network of params.yaml, in place of width, passes and stem")
    parser.add_argument("--memory", action="store_true", help="compare peak memory instead of time")
    parser.add_argument("--recompute", action="store_true", help="compute the passes again in the backward pass")
    parser.add_argument("--truncated", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    if arguments.peak:
        peak(arguments)
        return
    figures = memory(arguments) if arguments.memory else compare(arguments)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
