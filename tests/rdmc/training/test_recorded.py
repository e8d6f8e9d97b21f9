"""A recorded step: what is called when, on a device that only counts, and the same training as without on a GPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rdmc.data.batches import Batch
from rdmc.errors import ConfigError
from rdmc.models.rdmc import RDMCConfig
from rdmc.training.config import LossConfig, TrainConfig
from rdmc.training.loop import Run
from rdmc.training.recorded import WARM_UP, Recorded
from rdmc.training.speed import Speed

NETWORK = RDMCConfig(form="mixed", width=4, depth=3, passes=2, refine=1, stem=2, connections=("enc1->dec2",))
RECIPE = TrainConfig(steps=12, global_batch_size=2, crop=32, optimiser="muon", warmup_steps=0, validate_every=100)
LOSS = LossConfig(pixel="psnr", ssim=0.0, contrastive=0.01, levels=1)


def batch(step: int) -> Batch:
    rainy, clean = torch.randint(0, 256, (2, 2, 3, 32, 32), generator=torch.Generator().manual_seed(step), dtype=torch.uint8)
    return Batch(step, rainy, clean, [f"a/{step}"])


class FakeDevice:
    """CUDA's calls as ``Recorded`` makes them: a replay repeats the recorded function on the tensors it was recorded with."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.replays = 0
        patch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(wait_stream=lambda _: None))
        patch.setattr(torch.cuda, "Stream", lambda _: SimpleNamespace(wait_stream=lambda _: None))
        patch.setattr(torch.cuda, "stream", lambda _: self.nothing())
        patch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=self.replay))
        patch.setattr(torch.cuda, "graph", lambda *_, **__: self.nothing())
        patch.setattr(Tensor, "record_stream", lambda *_: None)

    @contextmanager
    def nothing(self) -> Iterator[None]:
        yield

    def replay(self) -> None:
        self.replays += 1


def test_calls_warm_up_then_record_then_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    device, seen = FakeDevice(monkeypatch), list[tuple[Tensor, Tensor]]()
    recorded = Recorded()
    given = [(torch.full((2,), float(number)), torch.full((2,), -float(number))) for number in range(WARM_UP + 3)]
    for first, second in given:
        recorded(lambda *tensors: seen.append(tensors), first, second)
    assert len(seen) == WARM_UP + 1, "the function runs in the warm-up and once for the recording"
    assert device.replays == 3, "the recording itself does no work: it is replayed at once"
    assert [tensor.tolist() for tensor in seen[-1]] == [[5.0, 5.0], [-5.0, -5.0]], "replays read the newest values there"
    assert given[WARM_UP][0].tolist() == [3.0, 3.0]


class Waits(TorchDispatchMode):
    """Counts the reads of a tensor's value: on a GPU each would wait for all that is queued."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count and go on."""
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_a_step_reads_no_value_of_the_device(monkeypatch: pytest.MonkeyPatch, optimiser: str) -> None:
    run = Run(NETWORK, LOSS, replace(RECIPE, optimiser=optimiser), 0)
    run._step(batch(0))
    lists: list[int] = []
    monkeypatch.setattr(Tensor, "tolist", lambda self: lists.append(1))
    with Waits() as waits:
        for step in range(1, 4):
            run._step(batch(step))
        assert (waits.count, lists) == (0, [])
        torch.ones(()).item()
    assert waits.count == 1, "a wait would be counted"


def test_a_run_is_freed_at_once() -> None:
    run = Run(NETWORK, LOSS, RECIPE, 0)
    run._step(batch(0))
    gone = weakref.ref(run.network)
    gc.disable()  # a cycle would be collected sooner or later, and its memory on a GPU with it
    try:
        del run
        assert gone() is None
    finally:
        gc.enable()


def test_a_compiled_objective_is_compiled_once() -> None:
    graphs: list[int] = []

    def counted(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(1)
        return graph.forward

    run = Run(NETWORK, LOSS, RECIPE, 0)
    run.objective.compile(backend=counted, dynamic=False)
    counts = []
    for step in range(4):
        run._step(batch(step))
        run.step += 1
        counts.append(len(graphs))
    assert counts[0] > 0
    assert counts[0] == counts[-1], "every step would be compiled anew"


@pytest.mark.parametrize("loss", [replace(LOSS, prior="infonce"), replace(LOSS, recursion="truncated")])
def test_steps_that_differ_are_not_compiled(loss: LossConfig) -> None:
    with pytest.raises(ConfigError, match="RDMC_COMPILE: true, and"):
        Run(NETWORK, loss, RECIPE, 0, speed=Speed(compile=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_a_recorded_training_is_that_of_the_cpu(optimiser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for device, speed in (
        (torch.device("cpu"), Speed()),
        (torch.device("cuda"), Speed(record=False)),
        (torch.device("cuda"), Speed()),
    ):
        run = Run(NETWORK, LOSS, replace(RECIPE, optimiser=optimiser), 0, device, speed)
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        own = []
        for step in range(8):
            given = batch(step)
            run._step(replace(given, rainy=given.rainy.to(device), clean=given.clean.to(device)))
            run.step += 1
            own.append(run.meter.read()[0]["loss"])
        losses.append(own)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)
