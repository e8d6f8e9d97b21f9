"""A model that is served: loaded once, and, where it is named by an alias, loaded anew when the alias moves.

The new one is loaded beside the old, tried on an image, and takes its place by one assignment; whoever holds the old one ends
with it. Where MLflow is away, or the new version is no good, what is there goes on, and ``problem`` says so. Models are kept on
the node's disk by what they are, so a process that starts while MLflow is away has the last one.
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

from pipeline.registry import model_folder
from pipeline.settings import Settings
from pipeline.versions import named_version
from rdmc.checkpoint import load_model
from rdmc.errors import RdmcError, ServiceError
from rdmc.files import new_folder, write_text
from rdmc.inference import derain_image
from rdmc.restorer import Restorer

SCHEME = "models:/"
TRIAL = np.full((64, 64, 3), 128, np.uint8)
"""What a new model is tried on before it may answer."""
KEPT = 3
"""Models that stay on disk; the one before the last is what a rollback wants."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory, and which it is."""

    name: str
    version: str
    """As the registry counts; empty for a folder."""
    key: str
    """What the weights are: two versions that share it are one model."""
    network: Restorer


class Followed:
    """The model of ``uri``, always one that works.

    Args:
        uri: ``models:/name@alias``, which is followed, ``models:/name/version``, or a model folder.
        settings: where MLflow is.
        cache: a folder of this node for downloaded models, shared by its processes.

    Raises ServiceError, CheckpointError or DataError where there is no such model to begin with.
    """

    def __init__(self, uri: str, settings: Settings, cache: Path) -> None:
        self.uri, self.settings, self.cache = uri, settings, cache
        self.problem = ""
        self.current = self._first()

    def refresh(self) -> bool:
        """Load what the alias names now; whether that is another model. Never raises for what is outside: see ``problem``."""
        if not self.uri.startswith(SCHEME):
            return False
        try:
            found = self._newest()
        except RdmcError as error:
            self.problem = str(error)
            return False
        self.problem = ""
        moved, self.current = found is not self.current, found
        return moved

    def _first(self) -> Loaded:
        if not self.uri.startswith(SCHEME):
            return Loaded(Path(self.uri).name, "", self.uri, _tried(Path(self.uri)))
        try:
            return self._newest()
        except ServiceError as error:
            with suppress(OSError, ValueError, KeyError, RdmcError):
                last = json.loads(self._note.read_text())
                self.problem = str(error)
                return Loaded(last["name"], last["version"], last["key"], _tried(self.cache / last["key"]))
            raise

    def _newest(self) -> Loaded:
        version = named_version(self.uri, self.settings)
        number = str(version.number)
        key = hashlib.sha256(version.source.encode()).hexdigest()[:16]
        current = getattr(self, "current", None)
        if current and (current.version, current.key) == (number, key):
            return current  # type: ignore[no-any-return]
        if current and current.key == key:
            return Loaded(version.model, number, key, current.network)
        with self._locked():
            if not (self.cache / key).is_dir():
                self._download(version.uri, key)
            loaded = Loaded(version.model, number, key, _tried(self.cache / key))
            write_text(self._note, json.dumps({"name": version.model, "version": number, "key": key}))
            (self.cache / key).touch()
            self._forget()
        return loaded

    def _download(self, uri: str, key: str) -> None:
        with model_folder(uri, self.settings) as folder, new_folder(self.cache / key) as place:
            shutil.copytree(folder, place, dirs_exist_ok=True)
            _tried(place)  # what is no good is not kept

    def _forget(self) -> None:
        held = sorted((path for path in self.cache.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        for old in held[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    @property
    def _note(self) -> Path:
        return self.cache / f"{hashlib.sha256(self.uri.encode()).hexdigest()[:16]}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _tried(folder: Path) -> Restorer:
    network = load_model(folder)[0]
    derain_image(network, TRIAL)
    return network
