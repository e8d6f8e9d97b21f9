"""The command ``serve``: a model over HTTP, with a web page to drop an image on. Ends with Ctrl-C."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.cluster import own_ray
from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.serving.app import serving
from pipeline.serving.choice import (
    NAMES,
    REFERENCE,
    SCHEME,
    ModelChoice,
    choose,
    described,
    origin,
    store_is_missing,
    uri,
)
from pipeline.serving.model_loader import has_copy
from pipeline.serving.types import ServingConfig
from pipeline.tracking.ui import check_port
from rdmc.errors import ServiceError


def run(config: ServingConfig, settings: Settings, names: Register = NAMES) -> None:
    """Serve until Ctrl-C or SIGTERM. If one of them comes during the start, KeyboardInterrupt is raised.

    Args:
        config: how to serve. An empty ``model`` stands for the champion, else the candidate, else the reference model.
        settings: where MLflow and Ray are.
        names: the names in the registry, for an empty ``model``.

    Raises:
        ServiceError: the port is taken, or MLflow or Ray does not answer or ends.
        CheckpointError: there is no such model.
        ConfigError: the cluster can never hold the replicas.
    """
    if own_ray(settings):  # a shared Ray may listen there already, as Ray Serve does for all its applications
        check_port(config.port, config.host, "`--port 8001`")
    config = replace(config, cache=config.cache.resolve(), log=config.log.resolve() if config.log else None)
    choice = ModelChoice(config.model) if config.model else choose_to_serve(names, settings, config.cache)
    config = replace(config, model=_absolute(choice.model))
    with serving(config, settings) as served:
        if served.model.problem:
            say(f"the model is the last one that was cached here: {served.model.problem}")
        address = served.address
        model = described(served.model.model, served.model.version, origin(config.model, settings))
        stays = f"; {choice.why}, and this server stays with its choice until it is started again" if choice.why else ""
        say(f"model: {model}{stays}")
        say(f"serving {config.model} at {address} (Ctrl-C ends it)")
        say(f"page:      {address}/")
        say(f"from here: curl --fail --data-binary @photo.jpg {address}/derain -o dry.png")
        if config.log:
            say(f"log:       {config.log} (requests, and changes of the model)")
        with suppress(KeyboardInterrupt):
            served.watch()


def choose_to_serve(names: Register, settings: Settings, cache: Path) -> ModelChoice:
    """``choose``, or the champion (else the candidate) as it was last cached here, if MLflow cannot be asked.

    A SQLite store that is gone, although a model of it is cached, cannot be asked either. Raises ServiceError.
    """
    try:
        choice = choose(names, settings)
    except ServiceError:
        if cached := _cached(names, settings, cache):
            return cached
        raise
    return (_cached(names, settings, cache) if store_is_missing(settings) else None) or choice


def _cached(names: Register, settings: Settings, cache: Path) -> ModelChoice | None:
    """The champion, else the candidate, of which the cache has a copy; None if it has neither."""
    unknown = f"MLflow cannot say whether there is a {names.champion}"
    for alias, why in ((names.champion, ""), (names.alias, unknown)):
        if has_copy(uri(names, alias), settings, cache):
            return ModelChoice(uri(names, alias), why)
    return None


def _absolute(model: str) -> str:
    """The model with an absolute path, if it is a folder: Ray's processes run in another working directory."""
    return model if model.startswith(SCHEME) or model == REFERENCE else str(Path(model).resolve())
