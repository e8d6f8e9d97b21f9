"""``serve``: a model over HTTP, and a page to drop a picture on. Ends with Ctrl-C."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

from pipeline.console import say
from pipeline.serving import Plan, serving
from pipeline.settings import Settings
from pipeline.ui import check_port


def run(plan: Plan, settings: Settings) -> None:
    """Serve until the process is told to end.

    Raises ServiceError for a port that is taken, an MLflow or Ray that does not answer, CheckpointError for no such model.
    """
    check_port(plan.port, plan.host, "`--port 8001`")
    plan = replace(plan, cache=plan.cache.resolve(), model=_whole(plan.model))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with serving(plan, settings) as address:
        say(f"serving {plan.model} at {address} (Ctrl-C ends it)")
        say(f"page:      {address}/")
        say(f"from here: curl --fail --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {address}/derain -o dry.png")
        ended.wait()


def _whole(model: str) -> str:
    """A folder's name wherever one stands: Ray's processes stand elsewhere."""
    return model if model.startswith("models:/") else str(Path(model).resolve())
