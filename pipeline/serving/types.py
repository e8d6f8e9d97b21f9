"""The values that the processes of a server exchange: the configuration, the state of the model, and answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.serving.requests import RequestLimits


@dataclass(frozen=True)
class ServingConfig:
    """How to serve a model."""

    model: str
    """An alias or version of the registry (``models:/…``), ``reference``, a model folder, or a file of published
    weights. The command ``serve`` chooses one for an empty name."""
    host: str
    port: int
    tile: int
    """Larger images are derained in tiles of this many pixels a side."""
    batch: int
    """Most images of one shape that the network processes together. 1 gives exactly the bytes that ``derain`` writes."""
    queue: int
    """Images that may wait; further ones are answered with 503."""
    poll: float
    """Seconds between two checks of the alias."""
    limits: RequestLimits
    cache: Path
    """Folder for downloaded models."""
    timeout: float = 300.0
    """Seconds that an image may take, including the wait, once its bytes have arrived."""
    log: Path | None = None
    """File for a line per request and per change of the model, on the node that answers HTTP; None for no log."""


@dataclass(frozen=True)
class ModelStatus:
    """Which model a replica serves, and whether it can reach the registry."""

    model: str
    version: str
    """Version in the registry, or of the reference model; empty for a model folder."""
    problem: str
    """Why the model could not be checked against the registry; empty if it could."""


@dataclass(frozen=True)
class Answer:
    """A replica's answer: the derained image, or an error."""

    data: bytes
    """An image file, or the error's text."""
    status: int
    """The HTTP status."""
    model: ModelStatus
    seconds: float = 0.0
    """Time of the network for the whole batch."""
    together: int = 1
    """Images in the batch."""
    pixels: int = 0
