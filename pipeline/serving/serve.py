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
from pipeline.serving.choice import NAMES, PACKAGED, REFERENCE, SCHEME, ModelChoice, choose, store_is_missing, uri
from pipeline.serving.model_loader import has_copy
from pipeline.serving.types import ModelStatus, ServingConfig
from pipeline.tracking.client import shown_uri
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
    config = replace(config, cache=config.cache.resolve())
    choice = ModelChoice(config.model) if config.model else choose_to_serve(names, settings, config.cache)
    config = replace(config, model=_absolute(choice.model))
    with serving(config, settings) as served:
        if served.model.problem:
            say(f"the model is the last one that was cached here: {served.model.problem}")
        address = served.address
        say(f"model: {_described(served.model, config.model, choice, settings)}")
        say(f"serving {config.model} at {address} (Ctrl-C ends it)")
        say(f"page:      {address}/")
        say(f"from here: curl --fail --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {address}/derain -o dry.png")
        with suppress(KeyboardInterrupt):
            served.watch()


def choose_to_serve(names: Register, settings: Settings, cache: Path) -> ModelChoice:
    """``choose``, or the champion (else the candidate) as it was last cached here, if MLflow cannot be asked.

    A SQLite store that is gone, although a model of it is cached, cannot be asked either. Raises ServiceError.
    """
    try:
        choice, problem = choose(names, settings), None
    except ServiceError as error:
        choice, problem = ModelChoice(""), error
    if problem or store_is_missing(settings):
        unknown = f"MLflow cannot say whether there is a {names.champion}"
        for alias, why in ((names.champion, ""), (names.alias, unknown)):
            if has_copy(uri(names, alias), settings, cache):
                return ModelChoice(uri(names, alias), why)
    if problem:
        raise problem
    return choice


def _described(model: ModelStatus, name: str, choice: ModelChoice, settings: Settings) -> str:
    """The model at the start: its name and version, where it comes from, and why it is this one."""
    if not model.version:
        return name
    source = f"{name}, MLflow at {shown_uri(settings.tracking_uri)}" if name.startswith(SCHEME) else PACKAGED
    stays = f"; {choice.why}, and this server stays with its choice until it is started again" if choice.why else ""
    return f"{model.model} version {model.version} ({source}){stays}"


def _absolute(model: str) -> str:
    """The model with an absolute path, if it is a folder: Ray's processes run in another working directory."""
    return model if model.startswith(SCHEME) or model == REFERENCE else str(Path(model).resolve())
