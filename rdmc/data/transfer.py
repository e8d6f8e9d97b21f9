"""Batches on the device that computes, copied while it works on the ones before."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace

import torch

from rdmc.data.batches import Batch


def on_device(stream: Generator[Batch, None, None], device: torch.device) -> Generator[Batch, None, None]:
    """Yield the batches of ``stream`` on ``device``, and close it in the end.

    A GPU receives bytes from pinned memory on a stream of its own, one batch ahead, so that neither it nor the host waits for
    a copy. On a CPU the batches are passed on.
    """
    with closing(stream):
        yield from _copied(stream, device) if device.type == "cuda" else stream


def _copied(stream: Iterable[Batch], device: torch.device) -> Generator[Batch, None, None]:
    side = torch.cuda.Stream(device)
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in stream:
        with torch.cuda.stream(side):
            tensors = {name: getattr(batch, name).pin_memory().to(device, non_blocking=True) for name in ("rainy", "clean")}
            copied = side.record_event()
        if waiting:
            yield _arrived(*waiting)
        waiting = replace(batch, **tensors), copied
    if waiting:
        yield _arrived(*waiting)


def _arrived(batch: Batch, copied: torch.cuda.Event) -> Batch:
    """Let the device's work that is queued from now on begin after the copy. The host does not wait."""
    working = torch.cuda.current_stream(batch.rainy.device)
    working.wait_event(copied)
    for tensor in (batch.rainy, batch.clean):
        tensor.record_stream(working)  # its memory is not given to another batch before this stream has read it
    return batch
