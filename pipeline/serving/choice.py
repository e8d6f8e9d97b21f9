"""Which model a command uses: the one that the user names, or the best one that there is.

If none is named, it is the champion, else the candidate, else the reference model that comes with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.registry.client import registry
from pipeline.registry.versions import CHAMPION, known_aliases, load_version, named_version
from pipeline.tracking.client import shown_uri, sqlite_path
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.errors import ServiceError
from rdmc.files import file_digest
from rdmc.models.base import Restorer
from rdmc.models.published import load_published
from rdmc.reference import load_reference, reference_card

SCHEME = "models:/"
REFERENCE = "reference"
"""How a user names the reference model. A folder of this name is ``./reference``."""
NAMES = Register(model="rdmc", alias="candidate", champion=CHAMPION)
"""The names in the registry, where no params file gives others."""
HINT = f"or name another model: --model {REFERENCE}"


@dataclass(frozen=True)
class ModelChoice:
    """The model to use, as a user would name it."""

    model: str
    """``models:/name@alias``, ``reference``, a model folder, or a file of published weights."""
    why: str = ""
    """Why it is this one, if that is not the user's choice or the champion."""


@dataclass(frozen=True)
class NamedModel:
    """A loaded model and where it comes from."""

    network: Restorer
    """In evaluation mode, on the CPU."""
    name: str
    version: str
    """Version in the registry, or of the reference model; empty for a folder or a file."""
    source: str
    """Its ``origin``."""
    sha256: str
    """SHA-256 of the weights; empty if it is not known."""

    def __str__(self) -> str:
        return described(self.name, self.version, self.source)


def choose(names: Register, settings: Settings) -> ModelChoice:
    """The champion if there is one, else the candidate, else the reference model.

    An MLflow store in a SQLite file that does not exist has neither, and is not created. Raises ServiceError, with a hint,
    if an MLflow that should exist does not answer or fails.
    """
    if store_is_missing(settings):
        return ModelChoice(REFERENCE, "nothing is registered yet")
    try:
        with registry(settings) as client:
            aliases = known_aliases(client, names.model)
    except ServiceError as error:
        raise ServiceError(f"{error}, {HINT}") from None
    if names.champion in aliases:
        return ModelChoice(uri(names, names.champion))
    if names.alias in aliases:
        return ModelChoice(uri(names, names.alias), f"there is no {names.champion}")
    return ModelChoice(REFERENCE, f"{names.model} has no {names.champion} and no {names.alias}")


def load_chosen(model: str, settings: Settings, names: Register = NAMES) -> NamedModel:
    """Load the model that a user names, or the one of ``choose`` where ``model`` is empty, and say which it is.

    Raises ServiceError or CheckpointError as ``choose`` and ``load_named`` do.
    """
    choice = ModelChoice(model) if model else choose(names, settings)
    found = load_named(choice.model, settings)
    say(f"model: {found}{f'; {choice.why}' if choice.why else ''}")
    return found


def store_is_missing(settings: Settings) -> bool:
    """Whether MLflow's store is a SQLite file that does not exist, as in a fresh clone."""
    path = sqlite_path(settings.tracking_uri)
    return path is not None and not path.is_file()


def uri(names: Register, alias: str) -> str:
    """``models:/name@alias`` of the registered model."""
    return f"{SCHEME}{names.model}@{alias}"


def origin(model: str, settings: Settings) -> str:
    """Where the model that a user names comes from, for the user: the registry, the package, or its own path."""
    if model == REFERENCE:
        return "comes with the package"
    return f"{model}, MLflow at {shown_uri(settings.tracking_uri)}" if model.startswith(SCHEME) else model


def described(name: str, version: str, source: str) -> str:
    """A model for the user: its name, version and ``origin``. A model without a version is its ``origin`` alone."""
    return f"{name} version {version} ({source})" if version else source


def load_named(model: str, settings: Settings) -> NamedModel:
    """Load the model that a user names: ``models:/…``, ``reference``, a model folder, or a file of published weights.

    Raises ServiceError or CheckpointError if there is no such model or it cannot be loaded.
    """
    source = origin(model, settings)
    if model == REFERENCE:
        card = reference_card()
        return NamedModel(load_reference(), REFERENCE, card.version, source, card.sha256)
    if model.startswith(SCHEME):
        version = named_version(model, settings)
        return NamedModel(load_version(version, settings), version.model, str(version.number), source, version.digest)
    path = Path(model)
    if path.is_file():
        return NamedModel(load_published(path), path.name, "", source, file_digest(path))
    network = load_model(path)[0]
    return NamedModel(network, path.name, "", source, file_digest(path / WEIGHTS))
