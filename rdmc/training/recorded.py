"""A function of two tensors that a GPU repeats from a recording (a CUDA graph), without the host.

A step of a small network is thousands of short kernels. Queued one by one they take the host longer than the GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the recording: they allocate what stays, such as the optimisers' state, and choose algorithms."""


class Recorded:
    """Calls ``run(first, second)``; from the fourth call on it replays what the third one's kernels did on new values.

    ``run`` must return nothing, keep what it produces in tensors that stay, wait for nothing and do the same work for tensors
    of the same shape. Every call passes tensors of one shape on one GPU.
    """

    def __init__(self, run: Callable[[Tensor, Tensor], None], prepare: Callable[[], None]) -> None:
        """``prepare`` is called before the recording, to drop what it has to allocate itself: the gradients."""
        self._run, self._prepare = run, prepare
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, Tensor] | None = None
        self.seconds = 0.0
        """Seconds that the recording took."""

    def __call__(self, first: Tensor, second: Tensor) -> None:
        """Run, record or replay."""
        self._calls += 1
        if self._graph is not None and self._inputs is not None:
            self._inputs[0].copy_(first)
            self._inputs[1].copy_(second)
        elif self._calls <= WARM_UP:
            self._aside(first, second)
            return
        else:
            self._graph = self._record(first, second)
        self._graph.replay()

    def _aside(self, first: Tensor, second: Tensor) -> None:
        """Run on a stream of its own, as recordings do, so that nothing is tied to the default one."""
        working, side = torch.cuda.current_stream(first.device), torch.cuda.Stream(first.device)
        side.wait_stream(working)
        with torch.cuda.stream(side):
            self._run(first, second)
        working.wait_stream(side)
        for tensor in (first, second):
            tensor.record_stream(side)

    def _record(self, first: Tensor, second: Tensor) -> torch.cuda.CUDAGraph:
        started = time.perf_counter()
        self._inputs = first.clone(), second.clone()
        self._prepare()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._run(*self._inputs)
        self.seconds = time.perf_counter() - started
        return graph
