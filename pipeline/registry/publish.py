"""What a version holds: figures, datasets and files in its MLflow run, the logged model, and the version itself.

Except for ``attach_files``, everything here is used inside ``pipeline.registry.client.registry``, which says where MLflow is.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.settings import Settings
from pipeline.console import say
from pipeline.registry.client import ARTIFACT, registry
from pipeline.tracking.client import experiment_id, knows_run, now_ms, send_metrics, send_params
from rdmc.data.pairs import QUARANTINE
from rdmc.errors import ServiceError
from rdmc.models.genotype import GENOTYPE, Genotype

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


def add_evaluation(client: MlflowClient, run_id: str, evaluation: dict[str, Any], step: int) -> None:
    """Log the means as ``evaluate/<dataset>/derained/psnr_y`` and so on, those that the run does not have already."""
    known = client.get_run(run_id).data.metrics
    figures = {
        f"evaluate/{name}/{kind}": value
        for name, group in evaluation.items()
        for kind, value in _leaves(group)
        if kind != "images"
    }
    send_metrics(client, run_id, [(name, value, now_ms(), step) for name, value in figures.items() if known.get(name) != value])


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


def add_genotype(client: MlflowClient, run_id: str, genotype: Genotype) -> None:
    """Log what the model is and costs as params, and with its learned strengths in the place of what ``train`` logged."""
    send_params(client, run_id, genotype.flat(), {})
    client.log_text(run_id, genotype.to_json(), GENOTYPE)


def add_checks(client: MlflowClient, run_id: str, folders: Mapping[str, Path]) -> None:
    """Log what prepare's checks found in each dataset as ``data/<name>/quarantine.json``."""
    for name, folder in folders.items():
        if (folder / QUARANTINE).is_file():
            client.log_artifact(run_id, str(folder / QUARANTINE), f"data/{name}")


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


def attach_files(settings: Settings, run_id: str | None, files: Sequence[Path]) -> None:
    """Add those of ``files`` that exist to a run. A failure is only shown as a warning, because the files lie on disk too."""
    if run_id is None:
        return
    try:
        with registry(settings) as client:
            for file in files:
                if file.is_file():
                    client.log_artifact(run_id, str(file))
    except ServiceError as error:
        say(f"warning: MLflow does not have {', '.join(file.name for file in files)}: {error}")


def _leaves(group: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in group.items():
        found += _leaves(value, f"{prefix}{name}/") if isinstance(value, dict) else [(f"{prefix}{name}", float(value))]
    return found
