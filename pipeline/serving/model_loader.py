"""Load the model that is served, and load it again when its alias moves.

The new model is loaded while the old one still serves. It is tried on an image and then replaces the old one by a single
assignment. A request that already uses the old model finishes with it. If MLflow is unavailable or the new version is bad, the
old model stays in service, and ``problem`` has the reason.

Models are cached on the node's disk, by their identity and store, so a process that starts while MLflow is unavailable uses the
last one. The cache is optional: a full disk never stops a model that is loaded.
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
from pipeline.serving.choice import REFERENCE, SCHEME, load_named
from pipeline.tracking.client import shown_uri, sqlite_path
from rdmc.errors import CheckpointError, MissingError, RdmcError, ServiceError, one_line
from rdmc.files import new_folder, write_text
from rdmc.inference import derain_image
from rdmc.models.base import Restorer

TRIAL = np.full((64, 64, 3), 128, np.uint8)
"""The image that a new model is tried on before it serves."""
KEPT = 3
"""Models kept on disk for each name in each store. A rollback needs the one before the last."""
ENTRY = ("name", "version", "key", "sha256")
"""The fields of a ``Loaded`` model that a cache note keeps."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory and its identity."""

    name: str
    version: str
    """Version in the registry, or of the reference model; empty for a model folder."""
    key: str
    """Identifies the weights: two versions with the same key are the same model."""
    sha256: str
    """SHA-256 of the weights as they were registered; empty if that is not known."""
    network: Restorer


class FollowedModel:
    """The model that ``uri`` names. It has always been tried and works.

    Args:
        uri: ``models:/name@alias``, which is followed, ``models:/name/version``, ``reference``, a model folder, or
            a file of published weights.
        settings: where MLflow is.
        cache: a folder of this node for downloaded models, shared by its processes.

    Raises:
        ServiceError, CheckpointError, DataError: there is no such model at the start.
    """

    def __init__(self, uri: str, settings: Settings, cache: Path) -> None:
        self.uri, self.settings, self.cache = uri, settings, cache
        self.store = shown_uri(tracking_uri(settings))
        self.problem = ""
        self.current = self._first()

    def refresh(self) -> bool:
        """Load the version that the alias names now. Returns whether that is another one.

        An error outside of the process is never raised: ``problem`` has it, and the current model stays.
        """
        if not self.uri.startswith(SCHEME):
            return False
        try:
            newest = self._newest(self.current)
        except (RdmcError, OSError) as error:
            self.problem = one_line(error)
            return False
        self.problem = ""
        moved, self.current = newest is not self.current, newest
        return moved

    def _first(self) -> Loaded:
        if self.uri == REFERENCE:
            own = load_named(REFERENCE, self.settings)
            return Loaded(own.name, own.version, own.sha256, own.sha256, _tried(own.network))
        if not self.uri.startswith(SCHEME):
            own = load_named(self.uri, self.settings)
            return Loaded(own.name, "", self.uri, "", _tried(own.network))
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
        """The model that MLflow names now; ``current`` itself if that is the same version."""
        version = named_version(self.uri, self.settings)
        number, key = str(version.number), _digest(version.source, self.store)
        if current and (current.version, current.key) == (number, key):
            return current
        if current and current.key == key:
            return Loaded(version.model, number, key, version.digest, current.network)
        with self._locked():
            loaded = Loaded(version.model, number, key, version.digest, self._network(version, self.cache / key))
            with suppress(OSError):
                self._remember(loaded)
        return loaded

    def _network(self, version: Version, cached: Path) -> Restorer:
        """The network from the folder ``cached``, else from MLflow. A damaged copy is removed and downloaded again."""
        if cached.is_dir():
            try:
                return _tried(load_registered(cached, version.uri, version.digest))
            except CheckpointError:
                shutil.rmtree(cached, ignore_errors=True)
        with model_folder(version.uri, self.settings) as folder:
            network = _tried(load_registered(folder, version.uri, version.digest))  # so that a bad model is not cached
            with suppress(OSError), new_folder(cached) as copy:
                shutil.copytree(folder, copy, dirs_exist_ok=True)
        return network

    def _last(self) -> Loaded | None:
        """The last model that ``uri`` named in this store, from the cache; None if there is no intact copy."""
        for entry in _entries(self._note)[:1]:
            with suppress(CheckpointError, OSError):
                network = load_registered(self.cache / entry["key"], self.uri, entry["sha256"])
                return Loaded(**entry, network=_tried(network))
        return None

    def _remember(self, loaded: Loaded) -> None:
        """Note the model as the last one, and delete cached models that no note mentions any more."""
        others = [entry for entry in _entries(self._note) if entry["key"] != loaded.key]
        own = {name: getattr(loaded, name) for name in ENTRY}
        write_text(self._note, json.dumps([own, *others][:KEPT]))
        used = {entry["key"] for note in self.cache.glob("*.json") for entry in _entries(note)}
        for folder in self.cache.iterdir():
            if folder.is_dir() and folder.name not in used:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _note(self) -> Path:
        """The file that lists the last models of ``uri`` in this store."""
        return _note(self.uri, self.store, self.cache)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the cache, which the processes of a node share."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def tracking_uri(settings: Settings) -> str:
    """MLflow's address in a form that is valid in any working directory."""
    path = sqlite_path(settings.tracking_uri)
    return f"sqlite:///{path.resolve()}" if path else settings.tracking_uri


def has_copy(uri: str, settings: Settings, cache: Path) -> bool:
    """Whether the cache has a model that ``uri`` named in the settings' store. It may be damaged."""
    note = _note(uri, shown_uri(tracking_uri(settings)), cache)
    return any((cache / entry["key"]).is_dir() for entry in _entries(note)[:1])


def _note(uri: str, store: str, cache: Path) -> Path:
    """The file that lists the last models of ``uri`` in a store."""
    return cache / f"{_digest(uri, store)}.json"


def _digest(text: str, store: str) -> str:
    """A digest of a store and ``text``, because several stores may share a cache."""
    return hashlib.sha256(f"{store}\n{text}".encode()).hexdigest()[:16]


def _entries(note: Path) -> list[dict[str, str]]:
    """The models that a note lists, the last one first; empty if the note is missing or damaged."""
    try:
        return [{name: str(entry[name]) for name in ENTRY} for entry in json.loads(note.read_text())]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _tried(network: Restorer) -> Restorer:
    """The network, after a trial. Raises CheckpointError if its output is not finite."""
    derain_image(network, TRIAL)
    return network
