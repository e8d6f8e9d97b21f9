"""A function of two tensors that a GPU repeats from a recording (a CUDA graph), without the host.

A step of a small network is thousands of short kernels. Queued one by one they take the host longer than the GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the recording: they allocate what stays, such as the optimisers' state, and choose algorithms."""


class Recorded:
    """Runs a function a few times, then records it; that call and later ones are replays of the recording on new values.

    The function must return nothing, keep what it produces in tensors that stay, wait for nothing and do the same work for
    tensors of the same shape. Every call passes the same function, and tensors of one shape on one GPU.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, Tensor] | None = None

    def __call__(self, run: Callable[[Tensor, Tensor], None], first: Tensor, second: Tensor) -> None:
        """Run, record or replay ``run(first, second)``. It is not kept, so a ``Run`` that has this object can be freed."""
        self._calls += 1
        if self._graph is not None and self._inputs is not None:
            self._inputs[0].copy_(first)
            self._inputs[1].copy_(second)
        elif self._calls <= WARM_UP:
            self._warm_up(run, first, second)
            return
        else:
            self._graph = self._record(run, first, second)
        self._graph.replay()

    def _warm_up(self, run: Callable[[Tensor, Tensor], None], first: Tensor, second: Tensor) -> None:
        """Run on a stream of its own, as recordings do, so that nothing is tied to the default one."""
        working, side = torch.cuda.current_stream(first.device), torch.cuda.Stream(first.device)
        side.wait_stream(working)
        with torch.cuda.stream(side):
            run(first, second)
        working.wait_stream(side)
        for tensor in (first, second):
            tensor.record_stream(side)

    def _record(self, run: Callable[[Tensor, Tensor], None], first: Tensor, second: Tensor) -> torch.cuda.CUDAGraph:
        self._inputs = first.clone(), second.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            run(*self._inputs)
        return graph
