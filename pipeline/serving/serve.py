"""The command ``serve``: a model over HTTP, with a web page to drop an image on. Ends with Ctrl-C."""

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


def run(config: ServingConfig, settings: Settings) -> None:
    """Serve until Ctrl-C or SIGTERM. If one of them comes during the start, KeyboardInterrupt is raised.

    Raises:
        ServiceError: the port is taken, or MLflow or Ray does not answer or ends.
        CheckpointError: there is no such model.
        ConfigError: the cluster can never hold the replicas.
    """
    if own_ray(settings):  # a shared Ray may listen there already, as Ray Serve does for all its applications
        check_port(config.port, config.host, "`--port 8001`")
    config = replace(config, cache=config.cache.resolve(), model=_absolute(config.model))
    with serving(config, settings) as served:
        if served.problem:
            say(f"the model is the last one that was cached here: {served.problem}")
        address = served.address
        say(f"serving {config.model} at {address} (Ctrl-C ends it)")
        say(f"page:      {address}/")
        say(f"from here: curl --fail --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {address}/derain -o dry.png")
        with suppress(KeyboardInterrupt):
            served.watch()


def _absolute(model: str) -> str:
    """The model with an absolute path, if it is a folder: Ray's processes run in another working directory."""
    return model if model.startswith("models:/") else str(Path(model).resolve())
