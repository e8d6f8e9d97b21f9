"""Read a model's versions from the registry.

The functions that take a client are used inside ``pipeline.registry.client.registry``, which sets MLflow's address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.settings import Settings
from pipeline.registry.client import model_folder, registry_for
from pipeline.tracking.metric_names import figures_on_tests
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.errors import CheckpointError, MissingError
from rdmc.files import file_digest
from rdmc.models.base import Restorer

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAMED = re.compile(r"models:/([^/@]+)(?:@|/)([^/@]+)")
NUMBER = re.compile(r"[0-9]{1,9}")
"""A version number in the range that MLflow's databases take."""
CHAMPION = "champion"
"""The alias of the version in use, unless params.yaml names another."""
AGAIN = "`dvc repro --force --single-item register`"
"""Registers the model of a project again. DVC does not know what MLflow has, so a plain `dvc repro` may have nothing to do."""
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes for something that does not exist."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    model: str
    number: int
    aliases: tuple[str, ...]
    run_id: str
    """Id of its run; empty without one."""
    created: int
    """Time in ms since 1970."""
    tags: Mapping[str, str]
    description: str
    source: str
    """Where its files are. No other model has the same source."""

    @property
    def label(self) -> str:
        """Its name in a sentence."""
        return f"version {self.number}"

    @property
    def uri(self) -> str:
        """MLflow's URI of the version."""
        return f"models:/{self.model}/{self.number}"

    @property
    def digest(self) -> str:
        """SHA-256 of its weights as they were registered; empty if that is not known."""
        return self.tags.get("model_sha256", "")

    @property
    def data(self) -> dict[str, str]:
        """Dataset name -> digest of its manifest."""
        return {name.removeprefix("data."): value for name, value in self.tags.items() if name.startswith("data.")}


def ensure_model(client: MlflowClient, name: str, description: str) -> None:
    """Create a registered model unless it exists."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def all_versions(client: MlflowClient, model: str) -> list[Version]:
    """The versions of a model, oldest first; empty for a model that does not exist."""
    aliases = known_aliases(client, model)
    versions: list[Version] = []
    token: Any = None
    while True:
        page = client.search_model_versions(f"name='{model}'", max_results=1000, page_token=token)
        versions += [_version(item, aliases) for item in page]
        token = page.token
        if not token:
            return sorted(versions, key=lambda version: version.number)


def known_aliases(client: MlflowClient, model: str) -> dict[str, int]:
    """Alias -> version number of a model; empty for a model that does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return {name: int(number) for name, number in client.get_registered_model(model).aliases.items()}
    except MlflowException as error:
        if error.error_code in GONE:
            return {}
        raise


def find_version(client: MlflowClient, model: str, text: str) -> Version:
    """The version with the number or alias ``text``. Raises MissingError, which names the versions that exist."""
    aliases = known_aliases(client, model)
    number = aliases.get(text, int(text) if NUMBER.fullmatch(text) else 0)
    if found := known_version(client, model, number, aliases):
        return found
    known = [str(version.number) for version in all_versions(client, model)]
    nothing = f"nothing is registered; run `make repro`, or {AGAIN} if that has nothing to do"
    there = f"there are {', '.join([*known[-10:], *aliases])}" if known else nothing
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    cure = "run `python -m pipeline promote candidate`, or name another" if known and text == CHAMPION else "name another"
    raise MissingError(f"{shown}: no version or alias of {model!r} ({there}); {cure}")


def known_version(client: MlflowClient, model: str, number: int, aliases: Mapping[str, int] | None = None) -> Version | None:
    """The version with that number; None if it was deleted or never existed.

    It has the aliases that ``aliases`` gives it, else none.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _version(client.get_model_version(model, str(number)), aliases or {}) if number else None
    except MlflowException as error:
        if error.error_code in GONE:
            return None
        raise


def first_known(client: MlflowClient, model: str, numbers: Iterable[int]) -> tuple[Version | None, list[int]]:
    """The first of these versions that exists, or None, and the numbers before it, which do not."""
    gone: list[int] = []
    for number in numbers:
        if found := known_version(client, model, number):
            return found, gone
        gone.append(number)
    return None, gone


def named_version(uri: str, settings: Settings) -> Version:
    """The version that ``models:/name@alias`` or ``models:/name/version`` names.

    Raises:
        MissingError: MLflow does not have it, or ``uri`` is not of that form.
        ServiceError: MLflow fails.
    """
    named = NAMED.fullmatch(uri)
    if not named:
        raise MissingError(f"{uri}: names no model; write models:/name@alias or models:/name/version")
    with registry_for(uri, settings) as client:
        return find_version(client, *named.groups())


def figures(client: MlflowClient, version: Version) -> dict[str, float]:
    """The means that ``register`` logged in the version's run, such as ``light/derained/psnr_y``; empty without a run."""
    return figures_on_tests(_run(client, version).get("metrics", {}))


def params_of(client: MlflowClient, version: Version) -> dict[str, str]:
    """The params of the version's run by dotted name; empty without a run."""
    return dict(_run(client, version).get("params", {}))


def experiment_of(client: MlflowClient, version: Version) -> str:
    """The id of the experiment that the version's run belongs to; empty without a run."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(version.run_id).info.experiment_id) if version.run_id else ""
    except MlflowException as error:
        if error.error_code in GONE:
            return ""
        raise


def load_version(version: Version, settings: Settings) -> Restorer:
    """Load the network of a version, in evaluation mode on the CPU.

    Raises:
        CheckpointError: its weights are missing, damaged, or not those that were registered.
        ServiceError: MLflow does not have the model, or this project did not register it.
    """
    with model_folder(version.uri, settings) as folder:
        return load_registered(folder, version.uri, version.digest)


def load_registered(folder: Path, name: str, digest: str) -> Restorer:
    """Load the network from a copy of a version's model folder, in evaluation mode on the CPU.

    Args:
        folder: the copy.
        name: how errors name the version.
        digest: SHA-256 that the weights must have; empty for a version without one, whose weights are not checked.

    Raises:
        CheckpointError: the folder is missing or damaged, or its weights have another digest.
    """
    try:
        network, _ = load_model(folder)
        actual = file_digest(folder / WEIGHTS)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {_inside(error, folder)}; register it again with {AGAIN}, or name another") from None
    if digest and actual != digest:
        raise CheckpointError(
            f"{name}: its weights have SHA-256 {actual[:12]}…, registered were {digest[:12]}…; the artifact is damaged: "
            f"register it again with {AGAIN}, or name another version"
        )
    return network


def _inside(error: CheckpointError, folder: Path) -> str:
    """The error's text without the temporary folder and without its advice."""
    return str(error).replace(f"{folder}/", "").partition(";")[0]


def _run(client: MlflowClient, version: Version) -> dict[str, Any]:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(version.run_id).data.to_dictionary() if version.run_id else {}
    except MlflowException as error:
        if error.error_code in GONE:
            return {}
        raise


def _version(item: Any, aliases: Mapping[str, int]) -> Version:
    number = int(item.version)
    own = tuple(sorted(name for name, at in aliases.items() if at == number))
    return Version(
        item.name,
        number,
        own,
        item.run_id or "",
        int(item.creation_timestamp),
        dict(item.tags),
        item.description or "",
        str(item.source),
    )
