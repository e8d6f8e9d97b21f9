"""Tests that do not depend on the machine's load: wait for a condition, and count calls instead of seconds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 300.0
"""Seconds after which a condition counts as never met; no test takes so long even on a busy machine."""


def until(met: Callable[[], object], pause: float = 0.05) -> None:
    """Wait until a condition holds. It fails after ``PATIENCE``."""
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end, "the condition was never met"
        time.sleep(pause)


@contextmanager
def hanging_up() -> Iterator[tuple[int, list[str]]]:
    """The port of a server that ends every connection at once, and the addresses of those who connected."""
    callers: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:  # the block has ended
                    return
                connection.close()
                callers.append(f"{address[0]}:{address[1]}")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1], callers
        server.shutdown(socket.SHUT_RDWR)  # wakes the thread
    thread.join()
