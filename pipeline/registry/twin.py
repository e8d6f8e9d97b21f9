"""A version that is already registered of the same network and the same data: registering it again would add nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.config.settings import Settings
from pipeline.registry.provenance import gaps
from pipeline.registry.versions import Version, all_versions, load_version
from rdmc.errors import CheckpointError, ServiceError
from rdmc.models.factory import NetworkConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient


def find_twin(
    client: MlflowClient, model: str, config: NetworkConfig, facts: Mapping[str, str], settings: Settings
) -> Version | None:
    """The newest version of ``model`` with the weights and the data of ``facts``; None if there is none that will do.

    A version will not do if its origin is less well known, such as one that was registered before its code was committed, or if
    its files are missing or damaged.

    Args:
        client: MLflow's client.
        model: the registered model.
        config: the network's config; equal weights with more passes are another network.
        facts: the tags that a new version would get.
        settings: where MLflow is.
    """
    data, unknown = _data(facts), set(gaps(facts))
    for version in reversed(all_versions(client, model)):
        same = bool(version.digest) and version.digest == facts["model_sha256"] and _data(version.tags) == data
        if same and set(gaps(version.tags)) <= unknown and _loads_as(version, config, settings):
            return version
    return None


def _data(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name.startswith("data.")}


def _loads_as(version: Version, config: NetworkConfig, settings: Settings) -> bool:
    try:
        return bool(load_version(version, settings).config == config)
    except (CheckpointError, ServiceError):
        return False
