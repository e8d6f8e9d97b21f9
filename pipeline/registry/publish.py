"""Write a version into MLflow: figures, datasets and files of its run, the logged model, and the version itself.

Except for ``attach_files`` and ``open_children``, everything here is used inside ``pipeline.registry.client.registry``, which
sets MLflow's address.
"""

from __future__ import annotations

import io
import json
import shutil
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
from pipeline.console import say
from pipeline.registry.client import ARTIFACT, registry
from pipeline.tracking.client import experiment_id, knows_run, missing_figures, now_ms, send_metrics, send_params
from pipeline.tracking.metric_names import TEST
from pipeline.tracking.run_info import run_tags
from rdmc.data.pairs import QUARANTINE
from rdmc.errors import ServiceError
from rdmc.models.genotype import GENOTYPE, Genotype

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

SOURCE = Path(__file__).with_name("pyfunc.py")
PACKAGE = Path(__file__).parents[2] / "rdmc"
REQUIREMENTS = ("mlflow", "numpy", "opencv-python-headless", "pillow", "safetensors", "torch")
"""The packages that loading and running the model needs."""
ABOUT = (
    "Removes rain from photographs. `python -m pipeline models` lists the versions, `promote` and `rollback` move the alias of "
    "the one in use; `serve`, `derain` and `mlflow.pyfunc.load_model` use it. Each version has its figures and its verdict."
)
DIGEST = 36
"""Most characters that MLflow keeps of a dataset's digest."""


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
        """What the run used it for: ``training`` if it has such pairs, else ``validation``, else ``test``."""
        return next((c for s, c in (("train", "training"), ("validation", "validation")) if self.pairs.get(s)), "test")


@dataclass(frozen=True)
class Registered:
    """A version in the model registry."""

    name: str
    version: int
    run_id: str


def open_run(client: MlflowClient, settings: Settings, run_id: str | None, name: str, digest: str) -> str:
    """The id of the run to write to.

    It is ``run_id`` if the store knows that, and is ended if it is open: its training ended while MLflow did not answer. Else
    it is the run that was opened here earlier for the model with this SHA-256 ``digest``, or a new one. A new run is marked as
    finished at once, because its training took place elsewhere.
    """
    if run_id and knows_run(client, run_id):
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id)
        return run_id
    experiment = experiment_id(client, settings)
    runs = client.search_runs([experiment], f"tags.model_sha256 = '{digest}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {
        "model_sha256": digest,
        "stage": "register",
        **run_tags("register", "A model that was trained without this MLflow store."),
    }
    run = client.create_run(experiment, run_name=name, tags=tags)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def add_history(client: MlflowClient, run_id: str, rows: Sequence[Mapping[str, float]]) -> int:
    """Log the figures of ``rows`` that the run does not have at their ``step``. Returns how many were logged."""
    missing = missing_figures(client, run_id, rows)
    send_metrics(client, run_id, missing)
    return len(missing)


def add_evaluation(client: MlflowClient, run_id: str, evaluation: dict[str, Any], step: int) -> None:
    """Log the means of ``evaluation`` that the run does not have yet, named such as ``test/<dataset>/derained/psnr_y``."""
    known = client.get_run(run_id).data.metrics
    figures = {
        f"{TEST}{name}/{kind}": value
        for name, group in evaluation.items()
        for kind, value in _leaves(group)
        if kind != "images"
    }
    send_metrics(client, run_id, [(name, value, now_ms(), step) for name, value in figures.items() if known.get(name) != value])


def add_datasets(client: MlflowClient, run_id: str, datasets: Sequence[PackedDataset]) -> None:
    """Log packed datasets as the run's inputs. Logging the same datasets again changes nothing."""
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
    """Log what the network is and what it costs, as params, and its genotype with the learned strengths.

    The genotype replaces the one that ``train`` logged.
    """
    send_params(client, run_id, genotype.flat(), {})
    client.log_text(run_id, genotype.to_json(), GENOTYPE)


def add_checks(client: MlflowClient, run_id: str, folders: Mapping[str, Path]) -> None:
    """Log what the checks of ``prepare`` found in each dataset, as ``data/<name>/quarantine.json``."""
    for name, folder in folders.items():
        if (folder / QUARANTINE).is_file():
            client.log_artifact(run_id, str(folder / QUARANTINE), f"data/{name}")


def log_model(client: MlflowClient, run_id: str, name: str, folder: Path, step: int) -> str:
    """Log a model folder as a model of the run, with its code and its requirements. Returns MLflow's id of the model.

    The run's metrics at ``step`` become the model's metrics.
    """
    import mlflow
    from mlflow.models import Model

    mlflow.set_experiment(experiment_id=client.get_run(run_id).info.experiment_id)  # else it goes to another one
    example = np.tile(np.linspace(0, 255, 32).astype(np.uint8)[None, None, :, None], (1, 32, 1, 3))
    with _no_bytecode(), _library() as library:
        logged = Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            name=name,
            step=step,
            python_model=str(SOURCE),
            artifacts={ARTIFACT: str(folder)},
            code_paths=[str(library)],
            signature=signature(),
            input_example=example,
            pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in REQUIREMENTS],
        )
    return str(logged.model_id)


def signature() -> ModelSignature:
    """The model's signature: batches of RGB images as input and output, and the param ``tile``.

    The model also takes one image, files, bytes and base64, and it checks its input itself (pipeline/registry/pyfunc.py). A
    signature can only describe arrays of four axes, and MLflow would refuse anything else. MLflow leaves the check to the model
    if the signature is marked as coming from type hints.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))])
    made = ModelSignature(images, images, ParamSchema([ParamSpec("tile", DataType.integer, 1024)]))
    made._is_signature_from_type_hint = True
    return made


@contextmanager
def _library() -> Iterator[Path]:
    """A copy of the library's code. The weights of the reference model stay out: the version has its own."""
    with tempfile.TemporaryDirectory() as name:
        ignored = shutil.ignore_patterns("__pycache__", "weights")
        yield Path(shutil.copytree(PACKAGE, Path(name) / PACKAGE.name, ignore=ignored))


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Keep Python from writing bytecode: MLflow runs the model's code once before it logs the folder that holds it."""
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = kept


def add_version(
    client: MlflowClient, name: str, run_id: str, model_id: str, tags: Mapping[str, Any], description: str
) -> Registered:
    """Register a logged model as the next version of ``name``, with tags and a description."""
    import mlflow

    text = {key: str(value) for key, value in tags.items()}
    with redirect_stderr(io.StringIO()):  # it repeats our own summary
        made = mlflow.register_model(f"models:/{model_id}", name, tags=text)
    client.update_model_version(name, made.version, description)
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, ABOUT)
    return Registered(name, int(made.version), run_id)


def attach_files(settings: Settings, run_id: str | None, files: Sequence[Path]) -> None:
    """Log the existing ones of ``files`` to a run; does nothing without a run.

    A failure is only a warning, because the files are on disk too.
    """
    if run_id is None:
        return
    try:
        with registry(settings) as client:
            for file in files:
                if file.is_file():
                    client.log_artifact(run_id, str(file))
    except ServiceError as error:
        say(f"warning: MLflow does not have {', '.join(file.name for file in files)}: {error}")


def open_children(settings: Settings, parent: str) -> list[Run]:
    """The runs under the run ``parent`` that have not ended; none, with a warning, where MLflow fails."""
    try:
        with registry(settings) as client:
            experiment = client.get_run(parent).info.experiment_id
            wanted = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'RUNNING'"
            return list(client.search_runs([experiment], wanted))
    except ServiceError as error:
        say(f"warning: runs of trials may stay open in MLflow: {error}")
        return []


def _leaves(group: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Names, joined by ``/``, and values of a nested group of figures."""
    leaves: list[tuple[str, float]] = []
    for name, value in group.items():
        leaves += _leaves(value, f"{prefix}{name}/") if isinstance(value, dict) else [(f"{prefix}{name}", float(value))]
    return leaves
