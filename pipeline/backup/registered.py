"""What the registry holds, as plain data: it is written into a backup and compared after a restore."""

from __future__ import annotations

from typing import Any

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.promotion.champion import read_log
from pipeline.registry.client import model_folder, registry_for
from pipeline.registry.versions import all_versions, known_aliases, load_registered
from rdmc.errors import DataError


def snapshot(project: Project[Params]) -> dict[str, Any]:
    """The versions with their tags, the aliases and the history of a project's model. Creates no store. Raises ServiceError."""
    names = project.params.register_
    with registry_for(f"models:/{names.model}", project.settings) as client:
        versions = all_versions(client, names.model)
        return {
            "model": names.model,
            "versions": {str(each.number): {"run": each.run_id, "tags": dict(each.tags)} for each in versions},
            "aliases": known_aliases(client, names.model),
            "history": [[entry.number, entry.kind, entry.after, entry.at] for entry in read_log(client, names).entries],
        }


def compare(project: Project[Params], expected: dict[str, Any]) -> int:
    """Compare the registry with a snapshot, and load every version's weights, which are verified by their digest.

    Returns the number of versions. Raises DataError for a difference, CheckpointError for weights that are missing or others,
    ServiceError if MLflow does not answer.
    """
    found = snapshot(project)
    for part in ("versions", "aliases", "history"):
        if found[part] != expected[part]:
            raise DataError(f"{expected['model']}: the {part} in MLflow are not those of the backup; restore it again")
    for number, version in expected["versions"].items():
        uri = f"models:/{expected['model']}/{number}"
        with model_folder(uri, project.settings) as folder:
            load_registered(folder, uri, version["tags"].get("model_sha256", ""))
    return len(expected["versions"])
