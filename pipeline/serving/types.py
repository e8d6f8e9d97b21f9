"""What the processes of a server hand one another: how to serve, which model answers, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.serving.requests import RequestLimits


@dataclass(frozen=True)
class ServingConfig:
    """How to serve."""

    model: str
    host: str
    port: int
    tile: int
    batch: int
    """Pictures of one shape that go through the network together; 1 gives the bytes that ``derain`` writes."""
    queue: int
    """Pictures that may wait; more are answered 503."""
    poll: float
    """Seconds between two looks at the alias."""
    limits: RequestLimits
    cache: Path
    timeout: float = 300.0
    """Seconds that a picture may take, waiting included, once its bytes are there."""


@dataclass(frozen=True)
class ModelStatus:
    """Which model a replica has."""

    model: str
    version: str
    problem: str
    """Of the registry, empty where it answers."""


@dataclass(frozen=True)
class Answer:
    """What a replica made of a picture: a PNG, or why not."""

    data: bytes
    status: int
    state: ModelStatus
    seconds: float = 0.0
    together: int = 1
    pixels: int = 0
