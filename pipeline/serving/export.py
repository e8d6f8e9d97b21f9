"""``export``: a model as ONNX or as torch.export's ``.pt2``."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.registry.versions import load_version, named_version
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.errors import DataError
from rdmc.files import file_digest
from rdmc.models.export import export

SCHEME = "models:/"


def run(model: str, folder: Path, form: str, settings: Settings) -> None:
    """Write ``folder`` with the model's graph and what it takes and gives (export.json).

    Raises ConfigError for another format, DataError for a folder that is there, ServiceError or CheckpointError for no model.
    """
    if folder.exists():
        raise DataError(f"{folder}: is there already; name another folder or remove it")
    if model.startswith(SCHEME):
        version = named_version(model, settings)
        network, sha256 = load_version(version, settings), version.digest
        facts = {"model": version.model, "version": str(version.number)}
    else:
        network, sha256 = load_model(Path(model))[0], file_digest(Path(model, WEIGHTS))
        facts = {"model": model}
    path = export(network, folder, form, {**facts, "sha256": sha256})
    say(f"{model} as {path} ({path.stat().st_size / 1e6:.1f} MB): (1, 3, height, width), RGB, 0 to 1, in and out")
