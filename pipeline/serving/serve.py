"""``serve``: a model over HTTP, and a page to drop a picture on. Ends with Ctrl-C."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.cluster import own_ray
from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.serving.app import serving
from pipeline.serving.types import ServingConfig
from pipeline.tracking.ui import check_port


def run(plan: ServingConfig, settings: Settings) -> None:
    """Serve until the process is told to end; while it starts, that is KeyboardInterrupt.

    Raises ServiceError for a port that is taken, an MLflow or Ray that does not answer, or that ends, CheckpointError for no
    such model, ConfigError for replicas that the cluster can never hold.
    """
    if own_ray(settings):  # else others may listen there already: Ray Serve, for all its applications
        check_port(plan.port, plan.host, "`--port 8001`")
    plan = replace(plan, cache=plan.cache.resolve(), model=_whole(plan.model))
    with serving(plan, settings) as served:
        if served.problem:
            say(f"the model is the last that was kept here: {served.problem}")
        address = served.address
        say(f"serving {plan.model} at {address} (Ctrl-C ends it)")
        say(f"page:      {address}/")
        say(f"from here: curl --fail --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {address}/derain -o dry.png")
        with suppress(KeyboardInterrupt):
            served.watch()


def _whole(model: str) -> str:
    """A folder's name wherever one stands: Ray's processes stand elsewhere."""
    return model if model.startswith("models:/") else str(Path(model).resolve())
