"""A finished pipeline in a folder, as the tests of ``register`` share it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mlflow import MlflowClient

from pipeline.config.paths import Paths


@dataclass(frozen=True)
class Place:
    """A finished pipeline in its own folder, which is the working folder, and its MLflow store."""

    paths: Paths
    uri: str
    client: MlflowClient

    def result(self) -> dict[str, str]:
        """What ``register`` wrote."""
        found: dict[str, str] = json.loads(self.paths.register_metrics.read_text())
        return found
