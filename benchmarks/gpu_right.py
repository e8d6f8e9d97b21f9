"""Whether a training on the GPU is right: compared with the CPU, resumed, without waits, and with a NaN planted in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_steps import DEFAULT, DEVICE, EAGER, LOSS, ON_GPU, RECIPE, RECORDED, stream_of
from rdmc.data.loader import PairStore
from rdmc.data.transfer import on_device
from rdmc.errors import TrainingError
from rdmc.training.loop import Run
from rdmc.training.report import Report

LOSSES, GRADIENTS = 1e-4, 1e-3
"""The largest relative differences from the CPU that count as rounding, in exact fp32: of losses, of the whole gradient."""


@contextmanager
def exact() -> Iterator[None]:
    """Multiply fp32 numbers with all their digits."""
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


def right(store: PairStore) -> dict[str, Any]:
    """Compare losses, gradients and resuming with the CPU; see that a step waits for nothing and a NaN changes nothing."""
    found: dict[str, Any] = {}
    cpu = _losses(Run(DEFAULT, LOSS, RECIPE, 0), store)
    for name, speed in (("eager", EAGER), ("recorded", RECORDED)):
        run = Run(DEFAULT, LOSS, RECIPE, 0, DEVICE, speed)
        with exact():
            found[f"loss, fp32, {name}"] = _required(_apart(cpu, _losses(run, store)), LOSSES, "loss")
    found["gradient, fp32"] = _required(_gradient_apart(store, "exact"), GRADIENTS, "gradient")
    found["gradient, TF32"], found["gradient, bf16"] = _gradient_apart(store, "fp32"), _gradient_apart(store, "bf16")
    found["loss after resuming"] = _required(_resumed_apart(store), LOSSES, "loss after resuming")
    found["steps without a wait"] = _waits_for_nothing(store)
    found["weights changed by a NaN"] = _changed_by_nan(store)
    return found


def _losses(run: Run, store: PairStore, count: int = 6) -> list[float]:
    losses = []
    with closing(on_device(stream_of(run, store), run.device)) as stream:
        for _ in range(count):
            run._step(next(stream))
            run.step += 1
            losses.append(run.meter.read()[0]["loss"])
    return losses


def _apart(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def _required(value: float, most: float, what: str) -> float:
    if not value <= most:
        raise SystemExit(
            f"{what}: {value:.2g} from the CPU, at most {most:.2g} is rounding; look for the operation that differs"
        )
    return value


def _gradient_apart(store: PairStore, precision: str) -> float:
    """Return the relative distance of the first batch's gradient from that on the CPU."""
    batch = next(stream_of(Run(DEFAULT, LOSS, RECIPE, 0), store))
    found = []
    for device, how in ((torch.device("cpu"), "fp32"), (DEVICE, "fp32" if precision == "exact" else precision)):
        run = Run(DEFAULT, LOSS, replace(RECIPE, precision=how), 0, device, EAGER)
        with exact() if precision == "exact" else nullcontext():
            terms = run._terms(run.objective, batch.rainy.to(device), batch.clean.to(device))
            gradients = torch.autograd.grad(terms["loss"], list(run.network.parameters()), allow_unused=True)
        found.append(torch.cat([gradient.flatten().cpu().double() for gradient in gradients if gradient is not None]))
    return float((found[1] - found[0]).norm() / found[0].norm())


def _resumed_apart(store: PairStore) -> float:
    """Return how far the losses after a resume are from those of a run that was not stopped."""
    whole, stopped, resumed = (Run(DEFAULT, LOSS, replace(RECIPE, validate_every=8), 0, DEVICE) for _ in range(3))
    kept = [report.loss for report in _taken(whole, store, 16)]
    _taken(stopped, store, 8)
    with tempfile.TemporaryDirectory(prefix="rdmc-") as folder:
        stopped.save(Path(folder), {})
        resumed.resume(Path(folder))
    return _apart(kept[1:], [report.loss for report in _taken(resumed, store, 16)])


def _taken(run: Run, store: PairStore, until: int) -> list[Report]:
    found = []
    with closing(run.reports(store, None)) as reports:
        for report in reports:
            found.append(report)
            if report.step >= until:
                return found
    return found


def _waits_for_nothing(store: PairStore) -> int:
    """Take steps while torch raises an error for every wait for the GPU; return how many."""
    run = Run(DEFAULT, LOSS, RECIPE, 0, DEVICE, EAGER)
    with closing(on_device(stream_of(run, store), DEVICE)) as stream:
        for number in range(8):
            if ON_GPU and number == 4:
                torch.cuda.set_sync_debug_mode("error")
            run._step(next(stream))
            run.step += 1
    if ON_GPU:
        torch.cuda.set_sync_debug_mode("default")
    return 4 if ON_GPU else 0


def _changed_by_nan(store: PairStore) -> int:
    """Plant a NaN in a running training; return how many weights the steps after it change."""
    run = Run(DEFAULT, LOSS, replace(RECIPE, validate_every=5), 0, DEVICE)
    with closing(run.reports(store, None)) as reports:
        next(reports)
        with torch.no_grad():
            run.network.get_parameter("head.bias").fill_(float("nan"))
        before = {name: weight.clone() for name, weight in run.network.state_dict().items() if name != "head.bias"}
        try:
            next(reports)
        except TrainingError as error:
            if "loss nan at step 5 on " not in str(error):
                raise
        else:
            raise SystemExit("a loss of NaN was not found; look at rdmc/training/meter.py")
    return sum(int((run.network.state_dict()[name] != kept).sum()) for name, kept in before.items())
