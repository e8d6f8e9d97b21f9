"""The driver's part in the journal of a training: a thread that hands its lines on while the training runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pipeline.console import say
from pipeline.training.controller import RESTARTED, SAID
from pipeline.training.worker import Row
from rdmc.errors import RdmcError, one_line

PAUSE = 0.2
"""Seconds between two looks into the journal."""


@contextmanager
def following(folder: Path, follow: Callable[[Row], None], restarted: Callable[[str], None]) -> Iterator[Path]:
    """Yield a journal in ``folder``. ``follow`` gets its reports, ``restarted`` causes of restarts; other lines are printed.

    A thread does so, which ends with the block. An error over a line is said at once, and later lines are handed on all the
    same. The first such error is raised at the end of the block, unless the block itself raised one.
    """
    path = folder / "journal"
    path.touch()
    done, errors = threading.Event(), _Errors()

    def hand_on() -> None:
        for text in _lines(path, done):
            with errors:
                line = json.loads(text)
                if SAID in line:
                    say(line[SAID])
                elif RESTARTED in line:
                    restarted(line[RESTARTED])
                else:
                    follow(line)

    with ThreadPoolExecutor(1, "journal") as pool:
        reading = pool.submit(hand_on)
        try:
            yield path
        finally:
            done.set()
        reading.result()
    if errors.first is not None:
        raise errors.first


def _lines(path: Path, done: threading.Event) -> Iterator[str]:
    """The lines of a file to which others append, until ``done`` is set."""
    rest = ""
    with path.open() as file:
        while True:
            ending = done.is_set()  # checked before the read, so that the last read sees everything
            rest += file.read()
            *lines, rest = rest.split("\n")
            yield from lines
            if ending:
                return
            done.wait(PAUSE)


class _Errors:
    """Keeps and says the first error of its blocks, and lets none out."""

    def __init__(self) -> None:
        self.first: Exception | None = None

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception) and self.first is None:
            self.first = error
            what = one_line(error) if isinstance(error, RdmcError) else f"{type(error).__name__}: {one_line(error)}"
            say(f"error: {what}; the training goes on, and the command fails with this error at its end")
        return isinstance(error, Exception)
