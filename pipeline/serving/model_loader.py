"""A model that is served: loaded once, and, where it is named by an alias, loaded anew when the alias moves.

The new one is loaded beside the old, tried on an image, and takes its place by one assignment; whoever holds the old one ends
with it. Where MLflow is away, or the new version is no good, what is there goes on, and ``problem`` says so. Models are kept on
the node's disk by what they are and of which store, so a process that starts while MLflow is away has the last one. What is
kept is a help and never a need: a disk that is full stops no model that is loaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.settings import Settings
from pipeline.registry.client import model_folder
from pipeline.registry.versions import Version, load_registered, named_version
from pipeline.tracking.client import shown_uri, sqlite_path
from rdmc.checkpoint import load_model
from rdmc.errors import CheckpointError, MissingError, RdmcError, ServiceError, one_line
from rdmc.files import new_folder, write_text
from rdmc.inference import derain_image
from rdmc.models.base import Restorer

SCHEME = "models:/"
TRIAL = np.full((64, 64, 3), 128, np.uint8)
"""What a new model is tried on before it may answer."""
KEPT = 3
"""Models that stay on disk for each name in each store; the one before the last is what a rollback wants."""
ENTRY = ("name", "version", "key", "sha256")


@dataclass(frozen=True)
class Loaded:
    """A model in memory, and which it is."""

    name: str
    version: str
    """As the registry counts; empty for a folder."""
    key: str
    """What the weights are: two versions that share it are one model."""
    sha256: str
    """Of the weights as they were registered, where that is known."""
    network: Restorer


class FollowedModel:
    """The model of ``uri``, always one that works.

    Args:
        uri: ``models:/name@alias``, which is followed, ``models:/name/version``, or a model folder.
        settings: where MLflow is.
        cache: a folder of this node for downloaded models, shared by its processes.

    Raises ServiceError, CheckpointError or DataError where there is no such model to begin with.
    """

    def __init__(self, uri: str, settings: Settings, cache: Path) -> None:
        self.uri, self.settings, self.cache = uri, settings, cache
        self.store = shown_uri(tracking_uri(settings))
        self.problem = ""
        self.current = self._first()

    def refresh(self) -> bool:
        """Load what the alias names now; whether that is another model. Never raises for what is outside: see ``problem``."""
        if not self.uri.startswith(SCHEME):
            return False
        try:
            found = self._newest(self.current)
        except (RdmcError, OSError) as error:
            self.problem = one_line(error)
            return False
        self.problem = ""
        moved, self.current = found is not self.current, found
        return moved

    def _first(self) -> Loaded:
        if not self.uri.startswith(SCHEME):
            return Loaded(Path(self.uri).name, "", self.uri, "", _tried(load_model(Path(self.uri))[0]))
        try:
            return self._newest()
        except MissingError:
            raise
        except (ServiceError, OSError) as error:
            last = self._last()
            if last is None:
                raise
            self.problem = one_line(error)
            return last

    def _newest(self, current: Loaded | None = None) -> Loaded:
        version = named_version(self.uri, self.settings)
        number, key = str(version.number), self._digest(version.source)
        if current and (current.version, current.key) == (number, key):
            return current
        if current and current.key == key:
            return Loaded(version.model, number, key, version.digest, current.network)
        with self._locked():
            loaded = Loaded(version.model, number, key, version.digest, self._network(version, self.cache / key))
            with suppress(OSError):
                self._remember(loaded)
        return loaded

    def _network(self, version: Version, place: Path) -> Restorer:
        """From the cache, else from MLflow; what is damaged in the cache is fetched again."""
        if place.is_dir():
            try:
                return _tried(load_registered(place, version.uri, version.digest))
            except CheckpointError:
                shutil.rmtree(place, ignore_errors=True)
        with model_folder(version.uri, self.settings) as folder:
            network = _tried(load_registered(folder, version.uri, version.digest))  # what is no good is not kept
            with suppress(OSError), new_folder(place) as kept:
                shutil.copytree(folder, kept, dirs_exist_ok=True)
        return network

    def _last(self) -> Loaded | None:
        """What this name was in this store when it was last asked, where that is still whole."""
        for entry in _entries(self._note)[:1]:
            with suppress(CheckpointError, OSError):
                network = load_registered(self.cache / entry["key"], self.uri, entry["sha256"])
                return Loaded(**entry, network=_tried(network))
        return None

    def _remember(self, loaded: Loaded) -> None:
        """Note the model as the last, and forget those that no note has among its last."""
        others = [entry for entry in _entries(self._note) if entry["key"] != loaded.key]
        own = {name: getattr(loaded, name) for name in ENTRY}
        write_text(self._note, json.dumps([own, *others][:KEPT]))
        used = {entry["key"] for note in self.cache.glob("*.json") for entry in _entries(note)}
        for folder in self.cache.iterdir():
            if folder.is_dir() and folder.name not in used:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _note(self) -> Path:
        return self.cache / f"{self._digest(self.uri)}.json"

    def _digest(self, text: str) -> str:
        """Of what ``text`` is in this store; two stores share a cache."""
        return hashlib.sha256(f"{self.store}\n{text}".encode()).hexdigest()[:16]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def tracking_uri(settings: Settings) -> str:
    """Where MLflow is, for processes that stand in another folder."""
    path = sqlite_path(settings.tracking_uri)
    return f"sqlite:///{path.resolve()}" if path else settings.tracking_uri


def _entries(note: Path) -> list[dict[str, str]]:
    """What a note has, the last model first; nothing of one that is damaged."""
    try:
        return [{name: str(entry[name]) for name in ENTRY} for entry in json.loads(note.read_text())]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _tried(network: Restorer) -> Restorer:
    derain_image(network, TRIAL)
    return network
