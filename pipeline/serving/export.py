"""The command ``export``: write a model as ONNX or as torch.export's ``.pt2``."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.serving.choice import load_named
from rdmc.errors import DataError
from rdmc.models.export import export


def run(model: str, folder: Path, form: str, settings: Settings) -> None:
    """Write the model's graph and a description of its input and output (export.json) into the new folder ``folder``.

    Args:
        model: ``models:/name@alias`` or ``models:/name/version`` of the registry, ``reference``, a model folder, or
            a file of published weights.
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
    found = load_named(model, settings)
    facts = {"model": found.name, "version": found.version} if found.version else {"model": model}
    path = export(found.network, folder, form, {**facts, "sha256": found.sha256})
    say(f"{model} as {path} ({path.stat().st_size / 1e6:.1f} MB): (batch, 3, height, width), RGB, 0 to 1, in and out")
