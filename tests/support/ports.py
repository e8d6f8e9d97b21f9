"""Free ports for servers of tests. Nobody else takes one of them between the moment it is found free and the server's start."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import cycle
from pathlib import Path

from pipeline.stack.state import is_free

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and the last port that the kernel gives to who asks for any: to connections, and to most processes of Ray."""
USUAL = (32768, 60999)
"""These two where the kernel does not say."""
FIRST = 20_000
"""Ray gives its workers 10002 to 19999 (``--min-worker-port``)."""
SLICES = 16
"""Test processes beside one another that never draw the same port."""


def free_port() -> int:
    """A port of the loopback address on which nothing listens; another one at each call.

    The kernel gives it to nobody, and no other process of a test run draws it.
    """
    return next(port for port in _drawn() if is_free(port))


@cache
def _drawn() -> Iterator[int]:
    """This process's ports, in an order that differs between test runs beside one another, again and again."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    ports = ports_of(int(worker.removeprefix("gw")), ephemeral())
    return cycle(random.SystemRandom().sample(ports, len(ports)))


def ports_of(number: int, taken: tuple[int, int]) -> Sequence[int]:
    """The ports of a test process: its slice of those from ``FIRST`` on that are not between the two ``taken``."""
    outside = [port for port in range(FIRST, 1 << 16) if not taken[0] <= port <= taken[1]]
    outside = outside or list(range(FIRST, 1 << 16))  # a kernel that gives all of them away
    return outside[number % SLICES :: SLICES]


def ephemeral() -> tuple[int, int]:
    """The first and the last port that the kernel gives away."""
    try:
        first, last = EPHEMERAL.read_text().split()
    except OSError:  # not Linux
        return USUAL
    return int(first), int(last)
