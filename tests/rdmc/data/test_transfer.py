"""Batches on their device: passed on where that is the CPU, copied whole and in order where it is a GPU."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import torch

from rdmc.data.batches import Batch
from rdmc.data.transfer import on_device

CPU = torch.device("cpu")


def made(count: int, closed: list[bool]) -> Generator[Batch, None, None]:
    try:
        for step in range(count):
            images = torch.full((2, 3, 4, 4), step, dtype=torch.uint8)
            yield Batch(step, images, images + 1, [f"a/{step}"])
    finally:
        closed.append(True)


def test_a_cpu_gets_the_batches_themselves() -> None:
    given = list(made(3, []))
    found = list(on_device((batch for batch in given), CPU))
    assert all(one is other for one, other in zip(found, given, strict=True))


def test_the_source_ends_with_the_stream() -> None:
    closed: list[bool] = []
    stream = on_device(made(3, closed), CPU)
    assert next(stream).step == 0
    stream.close()
    assert closed == [True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gets_copies_in_order() -> None:
    closed: list[bool] = []
    found = list(on_device(made(5, closed), torch.device("cuda")))
    assert [batch.step for batch in found] == list(range(5))
    for batch in found:
        assert batch.rainy.is_cuda
        assert (batch.rainy.unique().tolist(), batch.clean.unique().tolist()) == ([batch.step], [batch.step + 1])
        assert batch.keys == [f"a/{batch.step}"]
    assert closed == [True]
