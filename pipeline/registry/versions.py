"""What the registry has of a model's versions. Everything here is used inside ``registry``, which says where MLflow is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.settings import Settings
from pipeline.registry.client import asked, model_folder
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.errors import CheckpointError, MissingError
from rdmc.files import file_digest
from rdmc.models.base import Restorer

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAMED = re.compile(r"models:/([^/@]+)(?:@|/)([^/@]+)")
NUMBER = re.compile(r"[0-9]{1,9}")
"""Those that MLflow's databases take."""
CHAMPION = "champion"
"""The alias of the version in use, unless params.yaml has another."""
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    model: str
    number: int
    aliases: tuple[str, ...]
    run_id: str
    """Empty where there is none."""
    created: int
    """ms since 1970."""
    tags: Mapping[str, str]
    description: str
    source: str
    """Where its files are, an id that no other model has."""

    @property
    def label(self) -> str:
        """As it is called in a sentence."""
        return f"version {self.number}"

    @property
    def uri(self) -> str:
        """Of MLflow."""
        return f"models:/{self.model}/{self.number}"

    @property
    def digest(self) -> str:
        """SHA-256 of its weights as they were registered; empty where that is not known."""
        return self.tags.get("model_sha256", "")

    @property
    def data(self) -> dict[str, str]:
        """Digests of the datasets' manifests, by name."""
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
    """The versions of a model, oldest first; none of a model that is not there."""
    aliases = known_aliases(client, model)
    found: list[Version] = []
    token: Any = None
    while True:
        page = client.search_model_versions(f"name='{model}'", max_results=1000, page_token=token)
        found += [_version(item, aliases) for item in page]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: version.number)


def known_aliases(client: MlflowClient, model: str) -> dict[str, int]:
    """The aliases of a model and their versions; none of a model that is not there."""
    from mlflow.exceptions import MlflowException

    try:
        return {name: int(number) for name, number in client.get_registered_model(model).aliases.items()}
    except MlflowException as error:
        if error.error_code in GONE:
            return {}
        raise


def find_version(client: MlflowClient, model: str, text: str) -> Version:
    """The version with that number or alias. Raises MissingError that names those there are."""
    aliases = known_aliases(client, model)
    number = aliases.get(text, int(text) if NUMBER.fullmatch(text) else 0)
    if found := known_version(client, model, number, aliases):
        return found
    known = [str(version.number) for version in all_versions(client, model)]
    there = f"there are {', '.join([*known[-10:], *aliases])}" if known else "nothing is registered; run `make repro`"
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    cure = "run `python -m pipeline promote candidate`, or name another" if known and text == CHAMPION else "name another"
    raise MissingError(f"{shown}: no version or alias of {model!r} ({there}); {cure}")


def known_version(client: MlflowClient, model: str, number: int, aliases: Mapping[str, int] | None = None) -> Version | None:
    """The version with that number, its aliases with it where they are given; None of one that was deleted or never made."""
    from mlflow.exceptions import MlflowException

    try:
        return _version(client.get_model_version(model, str(number)), aliases or {}) if number else None
    except MlflowException as error:
        if error.error_code in GONE:
            return None
        raise


def first_known(client: MlflowClient, model: str, numbers: Iterable[int]) -> tuple[Version | None, list[int]]:
    """The first of these versions that is there, and those before it, which are not."""
    gone: list[int] = []
    for number in numbers:
        if found := known_version(client, model, number):
            return found, gone
        gone.append(number)
    return None, gone


def named_version(uri: str, settings: Settings) -> Version:
    """The version that ``models:/name@alias`` or ``models:/name/version`` is.

    Raises ServiceError, where MLflow answers and has none, MissingError.
    """
    named = NAMED.fullmatch(uri)
    if not named:
        raise MissingError(f"{uri}: names no model; write models:/name@alias or models:/name/version")
    with asked(uri, settings) as client:
        return find_version(client, *named.groups())


def figures(client: MlflowClient, version: Version) -> dict[str, float]:
    """The means that ``register`` logged with the version's run, as ``light/derained/psnr_y``; empty without a run."""
    metrics = _run(client, version).get("metrics", {})
    return {name.removeprefix("evaluate/"): value for name, value in metrics.items() if name.startswith("evaluate/")}


def params_of(client: MlflowClient, version: Version) -> dict[str, str]:
    """The dotted params of the version's run; empty without one."""
    return dict(_run(client, version).get("params", {}))


def load_version(version: Version, settings: Settings) -> Restorer:
    """The network of a version, in evaluation mode on the CPU.

    Raises:
        CheckpointError: its weights are missing, damaged, or not those that were registered.
        ServiceError: MLflow does not have the model, or it is not one of this project.
    """
    with model_folder(version.uri, settings) as folder:
        return load_registered(folder, version.uri, version.digest)


def load_registered(folder: Path, name: str, digest: str) -> Restorer:
    """The network of a copy of a version's model folder, in evaluation mode on the CPU.

    Raises CheckpointError, which calls it ``name``, where it is missing, damaged, or its weights are not those of ``digest``,
    SHA-256; an empty one, of versions that have none, is no rule.
    """
    try:
        network, _ = load_model(folder)
        found = file_digest(folder / WEIGHTS)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {_inside(error, folder)}; register it again or name another") from None
    if digest and found != digest:
        raise CheckpointError(
            f"{name}: its weights have SHA-256 {found[:12]}…, registered were {digest[:12]}…; the artifact is damaged: "
            "register it again or name another version"
        )
    return network


def _inside(error: CheckpointError, folder: Path) -> str:
    """The error without the temporary folder and its own advice."""
    return str(error).replace(f"{folder}/", "").partition(";")[0]


def _run(client: MlflowClient, version: Version) -> dict[str, Any]:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(version.run_id).data.to_dictionary() if version.run_id else {}
    except MlflowException as error:
        if error.error_code in GONE:
            return {}
        raise


def _version(found: Any, aliases: Mapping[str, int]) -> Version:
    number = int(found.version)
    own = tuple(sorted(name for name, at in aliases.items() if at == number))
    return Version(
        found.name,
        number,
        own,
        found.run_id or "",
        int(found.creation_timestamp),
        dict(found.tags),
        found.description or "",
        str(found.source),
    )
