"""Versions in a model registry without models, for tests of what only moves them."""

from __future__ import annotations

from mlflow import MlflowClient


def add_versions(client: MlflowClient, model: str, count: int) -> None:
    """Register ``count`` versions, each of a run of its own."""
    client.create_registered_model(model)
    for _ in range(count):
        run = client.create_run("0")
        client.create_model_version(model, run.info.artifact_uri, run.info.run_id, await_creation_for=0)
