"""How a command is stopped: Ctrl-C (SIGINT) and SIGTERM raise KeyboardInterrupt in it, so that it cleans up behind itself.

A command that can say more than "run it again" adds a note to the exception (``BaseException.add_note``).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
ADVICE = "run the same command again, a training resumes where it was"


_received: list[int] = []
"""The signals that ``_stop`` has received. Ray raises a KeyboardInterrupt of its own in place of ours."""


def stop_by_sigterm() -> None:
    """Let SIGTERM stop this process as Ctrl-C does, unless it is ignored here or handled already."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt


def interrupt() -> None:
    """Raise KeyboardInterrupt in the main thread; for another thread that must stop the command.

    Ctrl-C may be ignored, as in the background of a script. So SIGTERM is sent where ``stop_by_sigterm`` handles it.
    """
    number = signal.SIGTERM if signal.getsignal(signal.SIGTERM) is _stop else signal.SIGINT
    signal.pthread_kill(int(threading.main_thread().ident or 0), number)


@contextmanager
def own_handlers() -> Iterator[None]:
    """Put this process's handlers of the two signals back after a block that replaces them, as the start of Ray does.

    Ray's own handlers end the process at once, so nothing could be cleaned up. An end by SIGTERM within the block is a stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can change handlers
        return
    handlers = {number: signal.getsignal(number) for number in NAMES}
    try:
        yield
    except SystemExit as end:
        if handlers[signal.SIGTERM] is _stop:
            _received.append(signal.SIGTERM)
            raise KeyboardInterrupt from end
        raise
    finally:
        for number, handler in handlers.items():
            if callable(handler):  # others are the system's own: without a handler of ours, Ray's is better
                signal.signal(number, handler)


def last_words(end: BaseException) -> tuple[str, int]:
    """The line to print and the exit code (130 or 143) of a command that was stopped; ``end`` came of the KeyboardInterrupt."""
    stop: BaseException | None = end
    while stop is not None and not isinstance(stop, KeyboardInterrupt):
        stop = stop.__cause__ or stop.__context__
    number = signal.Signals(_received[-1]) if _received else signal.SIGINT
    advice = getattr(stop, "__notes__", None) or [ADVICE]
    return f"stopped by {NAMES[number]}; {advice[0]}", 128 + number
