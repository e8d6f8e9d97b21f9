"""Derain several images at the same time, each on a share of the processor's threads, and decode and measure meanwhile.

A network leaves cores idle: between two layers, and while an image is read or measured, only one thread has work. Two images on
one thread each take less time than one after the other on two threads (docs/benchmarks.md).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from itertools import islice
from threading import Lock, Semaphore
from typing import TypeVar

import torch
from torch import nn

from pipeline.evaluation.computer import computer
from rdmc.data.images import Image
from rdmc.inference import derain_image
from rdmc.models.base import place

MOST = 8
"""Most images at the same time. More threads than that are shared among them."""
T = TypeVar("T")
R = TypeVar("R")


class SharedNetwork:
    """A network that several threads may use at the same time, for an image each.

    The threads of this process are divided among ``abreast`` places. A small image takes one, a larger one several: all images
    in the network have no more pixels together than one tile, so memory does not grow with their number. On a GPU one image
    takes all places: it is the only one in the network, and others are decoded and measured beside it.

    ``images`` is how many there are to derain.
    """

    def __init__(self, network: nn.Module, tile: int, device: torch.device, images: int = 1) -> None:
        self._network, self._tile, self._device = network, tile, device
        self._threads = torch.get_num_threads()
        self.abreast = max(1, min(images, self._threads, MOST))
        """How many images may be in work at the same time."""
        self._free, self._entrance = Semaphore(self.abreast), Lock()
        self.computer = computer(device)
        """What computes, for reports."""
        place(network, device)

    def __call__(self, rainy: Image) -> tuple[Image, float]:
        """Return the derained image, uint8 (H, W, 3) RGB as ``rainy``, and the seconds of the processor that it took.

        An image that shared the processor counts with its share of the time. Raises the errors of ``derain_image``.
        """
        with self._places(rainy.shape[0] * rainy.shape[1]) as places:
            started = time.perf_counter()
            derained = derain_image(self._network, rainy, self._tile, self._device)
            return derained, (time.perf_counter() - started) * places / self.abreast

    def beside(self, network: nn.Module) -> SharedNetwork:
        """Return another network that shares the places of this one."""
        other = copy(self)
        other._network = network
        place(network, self._device)
        return other

    @contextmanager
    def _places(self, pixels: int) -> Iterator[int]:
        """Wait for the places of an image, and let torch use their share of the threads meanwhile."""
        wanted = math.ceil(self.abreast * pixels / self._tile**2) if self._device.type == "cpu" else self.abreast
        places = max(1, min(wanted, self.abreast))
        with self._entrance:  # in turn, so that a large image is not overtaken for ever
            for _ in range(places):
                self._free.acquire()
        try:
            _use_threads(max(1, self._threads * places // self.abreast))
            yield places
        finally:
            _use_threads(self._threads)
            self._free.release(places)


def in_turn(work: Callable[[T], R], items: Iterable[T], abreast: int) -> Generator[R, None, None]:
    """Yield ``work(item)`` of each item, in order, with ``abreast`` of them in work at the same time.

    Only so many results wait to be taken. After an error, and when the iterator is closed, nothing more is begun.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(abreast)
    try:
        begun: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(left, 2 * abreast))
        while begun:
            found = begun.popleft().result()
            begun.extend(pool.submit(work, item) for item in islice(left, 1))
            yield found
    finally:
        pool.shutdown(cancel_futures=True)


def _use_threads(count: int) -> None:
    """Let torch compute on so many threads for the thread that calls. New threads get the number that was set last."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
