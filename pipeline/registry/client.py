"""MLflow for ``register`` and ``derain``: what belongs to a run, and the model registry. The connection is mlflow_store.py's.

Apart from it, so that a change here does not train again.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.settings import Settings
from pipeline.storage.s3 import refusals
from pipeline.tracking.client import (
    connect,
    experiment_id,
    faults,
    knows_run,
    now_ms,
    send_metrics,
    shown_uri,
    sqlite_path,
)
from rdmc.errors import MissingError, ServiceError, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

SOURCE = Path(__file__).with_name("pyfunc.py")
PACKAGE = Path(__file__).parents[2] / "rdmc"
REQUIREMENTS = ("mlflow", "numpy", "opencv-python-headless", "pillow", "safetensors", "torch")
"""What loading and running the model needs."""
ABOUT = (
    "Removes rain from photographs. `python -m pipeline models` lists the versions, `promote` and `rollback` move the alias of "
    "the one in use; `serve`, `derain` and `mlflow.pyfunc.load_model` use it. Each version has its figures and its verdict."
)
ARTIFACT = "model"
"""Name of the model folder inside a registered model."""
DIGEST = 36
"""Characters that MLflow keeps of a dataset's digest."""


@dataclass(frozen=True)
class PackedDataset:
    """A packed dataset as MLflow shows it among a run's inputs."""

    name: str
    digest: str
    source: str
    pairs: Mapping[str, int]
    """Pairs by split."""

    @property
    def context(self) -> str:
        """What the run used it for: training, else validation, else test."""
        return next((c for s, c in (("train", "training"), ("validation", "validation")) if self.pairs.get(s)), "test")


@dataclass(frozen=True)
class Registered:
    """A version in the model registry."""

    name: str
    version: int
    run_id: str
    model_id: str


@contextmanager
def registry(settings: Settings) -> Iterator[MlflowClient]:
    """MLflow's client. What fails inside because of MLflow or its bucket becomes a ServiceError of one line."""
    try:
        client = connect(settings)
    except faults() as error:
        raise _refused(settings, error) from None
    import mlflow

    mlflow.set_tracking_uri(settings.tracking_uri)  # for those of MLflow's functions that take no client
    try:
        with refusals(settings.bucket or "MLflow's bucket"):
            yield client
    except faults() as error:
        raise _refused(settings, error) from None


def open_run(client: MlflowClient, settings: Settings, run_id: str | None, name: str, digest: str) -> str:
    """``run_id`` where the store knows it; else the run that was opened here before for the model of ``digest``, or a new one.

    A new run is finished at once, for its training took place elsewhere.
    """
    if run_id and knows_run(client, run_id):
        return run_id
    experiment = experiment_id(client, settings)
    found = client.search_runs([experiment], f"tags.model_sha256 = '{digest}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(experiment, run_name=name, tags={"model_sha256": digest})
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def add_history(client: MlflowClient, run_id: str, rows: Sequence[Mapping[str, float]]) -> int:
    """Log the figures of ``rows`` (each with its ``step``) that the run does not have at that step; returns how many."""
    names = sorted({name for row in rows for name in row} - {"step"})
    known = {name: {figure.step for figure in client.get_metric_history(run_id, name)} for name in names}
    missing = [
        (name, value, now_ms(), int(row["step"]))
        for row in rows
        for name, value in row.items()
        if name != "step" and int(row["step"]) not in known[name]
    ]
    send_metrics(client, run_id, missing)
    return len(missing)


def add_datasets(client: MlflowClient, run_id: str, datasets: Sequence[PackedDataset]) -> None:
    """Log packed datasets as the run's inputs; the same again changes nothing."""
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec

    image = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, 3))])
    schema = json.dumps(TensorDatasetSchema(image, image).to_dict())  # features: rainy, targets: clean
    inputs = [
        DatasetInput(
            Dataset(
                name=data.name,
                digest=data.digest[:DIGEST],
                source_type="s3" if data.source.startswith("s3://") else "local",
                source=json.dumps({"uri": data.source}),
                schema=schema,
                profile=json.dumps({**{f"{split} pairs": n for split, n in data.pairs.items()}, "digest": data.digest}),
            ),
            [InputTag("mlflow.data.context", data.context)],
        )
        for data in datasets
    ]
    client.log_inputs(run_id, inputs)


def log_model(client: MlflowClient, run_id: str, name: str, folder: Path, step: int) -> str:
    """Log a model folder as a model of the run, with its code and all it needs; returns MLflow's id of it.

    The run's metrics of ``step`` become the model's. Only inside ``registry``, which says where MLflow is.
    """
    import mlflow
    from mlflow.models import Model

    mlflow.set_experiment(experiment_id=client.get_run(run_id).info.experiment_id)  # else the model lands in another
    example = np.tile(np.linspace(0, 255, 32).astype(np.uint8)[None, None, :, None], (1, 32, 1, 3))
    with _no_bytecode():
        logged = Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            name=name,
            step=step,
            python_model=str(SOURCE),
            artifacts={ARTIFACT: str(folder)},
            code_paths=[str(PACKAGE)],
            signature=signature(),
            input_example=example,
            pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in REQUIREMENTS],
        )
    return str(logged.model_id)


def signature() -> ModelSignature:
    """What the model takes and gives: images as MLflow can write them down, and ``tile``.

    MLflow's own check of an input knows arrays of four axes only, and the model also takes one image, files, bytes and base64
    (pipeline/registry/pyfunc.py, which checks for itself): a signature that counts as that of type hints leaves the input to the model.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))])
    found = ModelSignature(images, images, ParamSchema([ParamSpec("tile", DataType.integer, 1024)]))
    found._is_signature_from_type_hint = True
    return found


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """MLflow tries a model out before it logs its folder, where Python would leave what it compiled."""
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = kept


def add_version(
    client: MlflowClient, name: str, run_id: str, model_id: str, tags: Mapping[str, Any], description: str
) -> Registered:
    """Register a logged model as the next version of ``name``. Only inside ``registry``."""
    import mlflow

    text = {key: str(value) for key, value in tags.items()}
    with redirect_stderr(io.StringIO()):  # it prints what our own summary says
        made = mlflow.register_model(f"models:/{model_id}", name, tags=text)
    client.update_model_version(name, made.version, description)
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, ABOUT)
    return Registered(name, int(made.version), run_id, model_id)


@contextmanager
def asked(uri: str, settings: Settings) -> Iterator[MlflowClient]:
    """``registry`` where it is there; what it does not know of ``uri`` becomes a MissingError of one line."""
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
                raise MissingError(f"{uri}: {one_line(error)}; register a model with `make repro` or name another") from None
            raise


@contextmanager
def model_folder(uri: str, settings: Settings) -> Iterator[Path]:
    """The model folder (rdmc/checkpoint.py) inside a registered model, for as long as the block lasts.

    Args:
        uri: ``models:/name@alias`` or ``models:/name/version``.
        settings: where MLflow is.

    Raises:
        ServiceError: MLflow cannot be reached, or, as MissingError, has no such model.
    """
    with asked(uri, settings), tempfile.TemporaryDirectory() as folder:
        from mlflow.artifacts import download_artifacts
        from mlflow.models import get_model_info

        try:
            inside = get_model_info(uri).flavors["python_function"]["artifacts"][ARTIFACT]["path"]
        except KeyError:
            raise MissingError(f"{uri}: not a model that this project registered; name one that is") from None
        yield Path(download_artifacts(artifact_uri=f"{uri}/{inside}", dst_path=folder))


def _refused(settings: Settings, error: Exception) -> ServiceError:
    return ServiceError(f"MLflow at {shown_uri(settings.tracking_uri)}: {one_line(error)}; mend it, then run this act again")
