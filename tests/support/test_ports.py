"""Ports of test servers: nobody else draws them."""

from __future__ import annotations

import socket
from itertools import chain

import pytest

from tests.support import ports
from tests.support.ports import FIRST, SLICES, ephemeral, free_port, ports_of


def test_a_drawn_port_is_free_and_none_that_the_kernel_or_ray_gives_away() -> None:
    first, last = ephemeral()
    drawn = [free_port() for _ in range(50)]
    assert len(set(drawn)) == 50, "each one is another"
    assert not [port for port in drawn if first <= port <= last or 10_002 <= port <= 19_999]
    for port in drawn[:3]:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_taken_port_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_port(), free_port()
    monkeypatch.setattr(ports, "_drawn", lambda: iter([taken, free]))
    with socket.create_server(("127.0.0.1", taken)):
        assert free_port() == free


@pytest.mark.parametrize("taken", [(32768, 60999), (49152, 65535), (20_000, 32_767), (1024, 65_535)])
def test_two_test_processes_never_draw_the_same_port(taken: tuple[int, int]) -> None:
    slices = [ports_of(number, taken) for number in range(SLICES)]
    both = list(chain.from_iterable(slices))
    assert len(both) == len(set(both))
    assert min(map(len, slices)) > 500
    assert taken[0] < FIRST or not [port for port in both if taken[0] <= port <= taken[1]], "unless the kernel has them all"
    assert ports_of(SLICES, taken) == slices[0]
