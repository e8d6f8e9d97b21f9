"""Access to MLflow's model registry: the client, and the model folder inside a version.

The connection is made by ``pipeline.tracking.client``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.settings import Settings
from pipeline.storage.s3 import refusals
from pipeline.tracking.client import connect, faults, leave, shown_uri, sqlite_path
from rdmc.errors import MissingError, ServiceError, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACT = "model"
"""Name of the model folder inside a registered model."""


@contextmanager
def registry(settings: Settings) -> Iterator[MlflowClient]:
    """Give MLflow's client to the block. An error of MLflow or its bucket inside the block becomes a one-line ServiceError.

    In the block, requests may take two minutes each (``connect``), because uploads are among them.
    """
    try:
        client = connect(settings)
    except faults() as error:
        raise _refused(settings, error) from None
    import mlflow

    mlflow.set_tracking_uri(settings.tracking_uri)  # for the functions of MLflow that take no client
    try:
        with refusals(settings.bucket or "MLflow's bucket"):
            yield client
    except faults() as error:
        raise _refused(settings, error) from None
    finally:
        leave(client)


@contextmanager
def registry_for(uri: str, settings: Settings) -> Iterator[MlflowClient]:
    """``registry`` for reading ``uri``. It never creates a store.

    Raises:
        ServiceError: there is no MLflow store, or MLflow fails.
        MissingError: MLflow does not know ``uri``.
    """
    path = sqlite_path(settings.tracking_uri)
    if path and not path.is_file():
        raise ServiceError(
            f"{uri}: there is no MLflow store {path}; run `make repro`, set MLFLOW_TRACKING_URI, or name a folder"
        )
    with registry(settings) as client:
        from mlflow.exceptions import MlflowException

        try:
            yield client
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise MissingError(f"{uri}: {one_line(error)}; register a model with `make repro`, or name another") from None
            raise


@contextmanager
def model_folder(uri: str, settings: Settings) -> Iterator[Path]:
    """Download the model folder (rdmc/checkpoint.py) of a registered model and keep it until the block ends.

    Args:
        uri: ``models:/name@alias`` or ``models:/name/version``.
        settings: where MLflow is.

    Raises:
        ServiceError: MLflow cannot be reached.
        MissingError: MLflow has no such model, or this project did not register it.
    """
    with registry_for(uri, settings), tempfile.TemporaryDirectory() as folder:
        from mlflow.artifacts import download_artifacts
        from mlflow.models import get_model_info

        try:
            inside = get_model_info(uri).flavors["python_function"]["artifacts"][ARTIFACT]["path"]
        except KeyError:
            raise MissingError(f"{uri}: not a model that this project registered; name one that is") from None
        yield Path(download_artifacts(artifact_uri=f"{uri}/{inside}", dst_path=folder))


def _refused(settings: Settings, error: Exception) -> ServiceError:
    return ServiceError(f"MLflow at {shown_uri(settings.tracking_uri)}: {one_line(error)}; fix it, then run this command again")
