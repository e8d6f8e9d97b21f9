"""Training on one GPU: whether it is right, how fast a step is, and how much of the time the GPU works.

    python -m benchmarks.gpu [--what right step loader busy] [--compile] [--out gpu.json]
    python -m benchmarks.gpu --small        # every part with small numbers, on the CPU too

It needs torch, numpy, OpenCV, Pillow and safetensors, and makes its own pictures. ``right`` compares the GPU with the CPU.
``step`` times training steps of the published network: written without care (fp32, channels first, the loss read at every
step), and as this project trains. ``--compile`` adds torch.compile, which takes minutes. ``loader`` counts the crops that
loader processes make. ``busy`` profiles a training of the network in params.yaml, with its validations.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_pictures import shards
from benchmarks.gpu_right import right
from benchmarks.gpu_steps import (
    COMPILED,
    DEFAULT,
    DEVICE,
    EAGER,
    LONG,
    LOSS,
    ON_GPU,
    RECIPE,
    RECORDED,
    stepping,
    stream_of,
    wait,
)
from rdmc.data.batches import batches
from rdmc.data.loader import PairStore
from rdmc.data.sampling import Sampling
from rdmc.models.factory import NetworkConfig, build
from rdmc.models.rdmc import RDMCConfig
from rdmc.training.config import TrainConfig
from rdmc.training.loop import Run
from rdmc.training.losses import Objective


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    widths: tuple[int, ...] = (8, 16, 32)
    crops: tuple[int, ...] = (64, 128)
    batches: tuple[int, ...] = (8, 32)
    """The first for every width and crop, the others for the largest alone."""
    recipes: tuple[tuple[int, int, str], ...] = ((16, 64, "fp32"), (64, 64, "fp32"), (64, 64, "bf16"))
    """Batches, crops and precisions with the network of params.yaml; the first is its recipe."""
    steps: int = 25
    loaders: tuple[int, ...] = (0, 4, 8, 16)
    seconds: float = 3.0
    busy: int = 300
    """Steps of the training that is profiled; it is validated every half of them."""
    pairs: int = 32
    side: int = 8192
    """Of the matrices whose product gives the ceiling."""


SMALL = Size((2, 4), (32,), (2, 3), ((2, 32, "fp32"),), 2, (0, 2), 0.5, 4, 6, 256)


def published(width: int) -> RDMCConfig:
    """The published network of a width."""
    return RDMCConfig(width=width, norm="batch")


class Plain:
    """A training step as one writes it first: fp32, channels first, AdamW, and the loss read at every step."""

    def __init__(self, network: NetworkConfig) -> None:
        torch.manual_seed(0)
        self.objective = Objective(build(network), LOSS).to(DEVICE)
        self.optimiser = torch.optim.AdamW(self.objective.parameters(), lr=1e-4)

    def __call__(self, rainy: Tensor, clean: Tensor) -> float:
        """Take a step on uint8 images of the host and return the loss."""
        images = (image.contiguous().to(DEVICE).float() / 255 for image in (rainy, clean))
        loss = self.objective(*images)["loss"]
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.objective.parameters(), 1.0)
        self.optimiser.step()
        return float(loss.item())


def ceiling(side: int) -> float:
    """FLOP/s of a large bf16 matrix product."""
    a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        started = time.perf_counter()
        a @ b
        wait()
        times.append(time.perf_counter() - started)
    return 2.0 * side**3 / statistics.median(times[3:])


def step(store: PairStore, size: Size, compiled: bool = False) -> list[dict[str, Any]]:
    """Time the step of the published network for each width and crop, and that of params.yaml's network."""
    top, found = ceiling(size.side), []
    shapes = [(width, crop, size.batches[0]) for width in size.widths for crop in size.crops]
    shapes += [(max(size.widths), max(size.crops), batch) for batch in size.batches[1:]]
    for width, crop, batch in shapes:
        config = replace(RECIPE, global_batch_size=batch, crop=crop, optimiser="adamw", precision="bf16")
        found += _timed(f"published, width {width}", published(width), config, store, size, compiled)
    for batch, crop, precision in size.recipes:
        config = replace(RECIPE, global_batch_size=batch, crop=crop, precision=precision)
        found += _timed("params.yaml", DEFAULT, config, store, size, compiled=False)  # it does not compile with torch 2.11
    return [{**row, "ceiling": top, "mfu": row["flops"] / row["seconds"] / top} for row in found]


def _timed(
    name: str, network: NetworkConfig, config: TrainConfig, store: PairStore, size: Size, compiled: bool
) -> list[dict[str, Any]]:
    """Time the variants of one network and batch; the first is the straightforward one."""
    flops = _flops(network, config, store)
    row = {"network": name, "crop": config.crop, "batch": config.global_batch_size, "flops": flops}
    variants = [("ours", config, RECORDED)]
    if config.crop == max(size.crops):
        variants += [("ours, eager", config, EAGER), ("ours, recompute", replace(config, recompute=True), RECORDED)]
    variants += [("ours, compiled", config, COMPILED)] if compiled else []
    rows = [{**row, "variant": "straightforward fp32", **_plain_seconds(network, config, store, size)}]
    for variant, changed, speed in variants:
        _reset()
        run = Run(network, LOSS, changed, 0, DEVICE, speed)
        started = time.perf_counter()
        with closing(stepping(run, store, 5)) as warm:
            next(warm)()
        first = time.perf_counter() - started
        run.step = 0
        with closing(stepping(run, store, size.steps)) as steps:
            rows.append({**row, "variant": variant, "seconds": next(steps)(), "first": first, **_peak()})
        del run
    for one in rows:
        one["images_per_second"] = config.global_batch_size / one["seconds"]
        one["speed_up"] = rows[0]["seconds"] / one["seconds"]
        shape = f"{config.global_batch_size:3} x {config.crop:3}"
        timed = f"{1e3 * one['seconds']:8.2f} ms {one['speed_up']:6.2f}x"
        print(f"{name:20} {shape} {one['variant']:22} {timed}", flush=True)
    return rows


def _plain_seconds(network: NetworkConfig, config: TrainConfig, store: PairStore, size: Size) -> dict[str, Any]:
    _reset()
    plain, found = Plain(network), []
    with closing(stream_of(Run(network, LOSS, config, 0), store)) as stream:
        for _ in range(5 + size.steps):
            batch = next(stream)
            started = time.perf_counter()
            plain(batch.rainy, batch.clean)
            found.append(time.perf_counter() - started)
    return {"seconds": statistics.mean(found[5:]), "first": sum(found[:5]), **_peak()}


def _flops(network: NetworkConfig, config: TrainConfig, store: PairStore) -> int:
    """Floating-point operations of a step, forward and backward, two for each multiply-add."""
    plain = Plain(network)
    batch = next(stream_of(Run(network, LOSS, config, 0), store))
    with FlopCounterMode(display=False) as counter:
        plain(batch.rainy, batch.clean)
    return int(counter.get_total_flops())


def _reset() -> None:
    gc.collect()
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> dict[str, float]:
    return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20 if ON_GPU else float("nan")}


def loader(folders: dict[str, Path], size: Size) -> list[dict[str, Any]]:
    """Count the crops of 128x128 that loader processes make, from PNGs and raw pixels; nothing is cached."""
    found = []
    for kind, folder in folders.items():
        for processes in size.loaders:
            store = PairStore([folder], "train", cache_mb=0)
            sampling = Sampling(0, store.parts(), 32, 1, 16)
            with closing(batches(store, sampling, crop=128, start=0, steps=LONG, loaders=processes)) as stream:
                for _ in range(4):
                    next(stream)
                started, crops = time.perf_counter(), 0
                while time.perf_counter() - started < size.seconds:
                    crops += len(next(stream).keys)
                rate = crops / (time.perf_counter() - started)
            found.append({"pixels": kind, "loaders": processes, "crops_per_second": rate})
            print(f"{kind:5} {processes:3} loaders {rate:8.0f} crops/s", flush=True)
    return found


def busy(store: PairStore, size: Size) -> dict[str, float]:
    """Profile a training with validations; return the share of its time in which the GPU ran a kernel or a copy."""
    activity = torch.profiler.ProfilerActivity.CUDA if ON_GPU else torch.profiler.ProfilerActivity.CPU
    run = Run(DEFAULT, LOSS, replace(RECIPE, validate_every=size.busy // 2), 0, DEVICE)
    validation = store.select([key for key, _ in store.labels()[:8]])
    with closing(run.reports(store, validation)) as reports:
        while next(reports).step < size.busy // 2:  # the first validation chooses algorithms
            pass
        with torch.profiler.profile(activities=[activity]) as profile:
            started = time.perf_counter()
            report = next(reports)
            while report.step < size.busy:
                report = next(reports)
            wait()
            seconds = time.perf_counter() - started
    spans = sorted((e.time_range.start, e.time_range.end) for e in profile.events() or [] if not ON_GPU or _on_gpu(e))
    worked, end = 0.0, 0.0
    for begin, finish in spans:
        worked += max(0.0, finish - max(begin, end))
        end = max(end, finish)
    return {"seconds": seconds, "steps": size.busy / 2, "busy": worked / 1e6 / seconds, "idle": 1 - worked / 1e6 / seconds}


def _on_gpu(event: FunctionEvent) -> bool:
    return "CUDA" in str(event.device_type)


def main() -> None:
    """Measure what was asked for, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("right", "step", "loader", "busy")
    parser.add_argument("--what", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--widths", nargs="+", type=int, help="of the published network (default: 8 16 32)")
    parser.add_argument("--compile", action="store_true", help="time torch.compile of the published network too")
    parser.add_argument("--small", action="store_true", help="small numbers, to try the parts")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    size = SMALL if arguments.small else Size()
    size = replace(size, widths=tuple(arguments.widths or size.widths))
    found: dict[str, Any] = {"device": torch.cuda.get_device_name() if ON_GPU else "cpu", "torch": torch.__version__}
    found["cores"] = os.cpu_count()
    with tempfile.TemporaryDirectory(prefix="rdmc-") as at:
        folders = shards(Path(at), size.pairs)
        store = PairStore([folders["raw"]], "train", 4096)
        measures: dict[str, Callable[[], Any]] = {
            "right": lambda: right(store),
            "step": lambda: step(store, size, arguments.compile),
            "loader": lambda: loader(folders, size),
            "busy": lambda: busy(store, size),
        }
        for name in arguments.what:
            started = time.perf_counter()
            found[name] = measures[name]()
            print(f"== {name}: {time.perf_counter() - started:.0f} s", flush=True)
            if arguments.out:
                arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps({name: found.get(name) for name in ("device", "torch", "right", "busy")}, indent=1))


if __name__ == "__main__":
    main()
