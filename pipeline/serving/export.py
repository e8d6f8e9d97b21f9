"""The command ``export``: write a model as ONNX or as torch.export's ``.pt2``."""

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
    """Write the model's graph and a description of its input and output (export.json) into the new folder ``folder``.

    Args:
        model: ``models:/name@alias`` or ``models:/name/version`` of the registry, or a model folder.
        folder: the folder to make.
        form: ``onnx`` or ``pt2``.
        settings: where MLflow is.

    Raises:
        ConfigError: an unknown format.
        DataError: ``folder`` exists already.
        ServiceError, CheckpointError: there is no such model.
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
