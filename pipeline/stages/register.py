"""``register``: complete the training's MLflow run with inputs and results, and add the model to the registry."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from pipeline.config.params import Params, read_params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import flatten
from pipeline.config.settings import dvc_experiment
from pipeline.console import say, table
from pipeline.evaluation.plots import learning_curve
from pipeline.registry.client import registry
from pipeline.registry.descriptions import describe, describe_run, pages_of
from pipeline.registry.model_card import Used, write_card
from pipeline.registry.provenance import Sources, leaking, made_by_job, sources
from pipeline.registry.publish import (
    PackedDataset,
    Registered,
    add_checks,
    add_datasets,
    add_evaluation,
    add_genotype,
    add_history,
    add_version,
    log_model,
    open_run,
)
from pipeline.registry.twin import find_twin
from pipeline.storage.datasets import dataset_folder, leak_report, read_manifests
from pipeline.storage.s3 import bucket_of, check_bucket
from pipeline.tracking.client import send_params
from pipeline.tracking.links import artifact_page, show_pages
from pipeline.tracking.run_info import NOTE, REGISTERED, UNSENT, only, run_title
from pipeline.versioning.dvc import LOCK
from pipeline.versioning.lineage import lineage
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.data.images import write_png
from rdmc.data.pairs import SPLITS
from rdmc.data.shards import Manifest
from rdmc.errors import ConfigError, DataError
from rdmc.files import file_digest, write_text
from rdmc.models.base import Restorer
from rdmc.models.cost import SIDE, cost
from rdmc.models.genotype import GENOTYPE, genotype_of
from rdmc.models.rdmc import RDMC

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "dvc_experiment"
"""The tag with the name of the DVC experiment that registered a version."""
CARDS = "cards"
"""The artifact folder of a run with the model card of each version registered from it."""


def run(project: Project[Params]) -> None:
    """Complete the training's run and register ``checkpoints/best``. The alias moves last.

    A version with the same weights and data is not registered twice: it gets the alias. In a DVC experiment no alias moves,
    because ``derain`` and ``promote candidate`` must not follow a model that is only tried.

    Raises DataError or CheckpointError for missing results of earlier stages, ServiceError where MLflow or the bucket fails.
    """
    params, settings, paths = project.params, project.settings, project.paths
    network, _ = load_model(paths.best)  # first, because a model that cannot be loaded must not be registered
    evaluation, history = _json(paths.evaluate_metrics, "evaluate"), read_history(paths.history)
    trained = _json(paths.run, "train")
    run_id, job = trained["run_id"], trained.get("job")
    known = lineage()
    if job:  # dvc.lock names an earlier model and its figures, not those that the job made
        known = {name: value for name, value in known.items() if name.startswith(("git_", "dvc.data/"))}
    manifests = read_manifests(project)
    datasets = [packed(project, manifest, known) for manifest in manifests.values()]
    digest = file_digest(paths.best / WEIGHTS)
    step = int(history[-1]["step"]) if history else 0
    check_bucket(settings)
    with registry(settings) as client:
        title = run_title(network.config.kind, network.config.width, list(params.datasets))
        run_id = open_run(client, settings, run_id, title, digest)
        run = client.get_run(run_id)
        code = attribution(run.data.tags, known)
        experiment = {EXPERIMENT: dvc_experiment()} if dvc_experiment() else {}
        facts = {"model_sha256": digest, **experiment, **code, **{f"data.{data.name}": data.digest for data in datasets}}
        facts |= add_provenance(client, run_id, project, manifests.values(), known.get("git_commit", ""), job)
        added = add_history(client, run_id, trained.get(UNSENT) or history)
        send_params(client, run_id, only(flatten(params), REGISTERED), commit_tag(facts))
        add_evaluation(client, run_id, evaluation, step)
        add_datasets(client, run_id, datasets)
        add_results(client, run_id, params, paths, history)
        if isinstance(network, RDMC):
            add_genotype(client, run_id, genotype_of(network))
        used = [Used(data.name, data.digest, data.pairs, params.datasets[data.name]) for data in datasets]
        add_checks(client, run_id, {name: dataset_folder(project, name) for name in params.datasets})
        twin = find_twin(client, params.register_.model, network.config, facts, settings)
        if twin:
            say(f"register: the weights and the data are those of {twin.label}, so there is no new version")
            made = Registered(twin.model, twin.number, twin.run_id)
        else:
            made = add_model(client, project, run_id, network, used, facts, evaluation, step)
        alias = "" if dvc_experiment() else params.register_.alias
        about = describe_run(run.data.tags.get(NOTE, ""), made, evaluation["overall"])
        send_params(client, run_id, {}, {NOTE: about})
        if alias:
            client.set_registered_model_alias(made.name, alias, str(made.version))
    result = {"model": made.name, "version": made.version, "alias": alias, "run_id": made.run_id}
    write_text(paths.register_metrics, json.dumps(result, indent=2) + "\n")
    _show(made, alias, evaluation["overall"], added)
    show_pages(settings, pages_of(made, str(run.info.experiment_id), run_id))


def add_model(
    client: MlflowClient,
    project: Project[Params],
    run_id: str,
    network: Restorer,
    used: list[Used],
    facts: Mapping[str, str],
    evaluation: dict[str, Any],
    step: int,
) -> Registered:
    """Log ``checkpoints/best`` as a model of the run and register it as the next version, with its card and its tags."""
    params, paths, overall = project.params, project.paths, evaluation["overall"]
    name = params.register_.model
    model_id = log_model(client, run_id, name, paths.best, step)
    tags = {"psnr_y": overall["derained"]["psnr_y"], "gain_psnr_y": overall["gain_psnr_y"], **facts}
    description = describe(evaluation)
    made = add_version(client, name, run_id, model_id, tags, description)
    known_as = {**facts, "run_id": run_id, "version": str(made.version), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    card = add_card(client, run_id, params, network, used, paths, known_as)
    client.set_model_version_tag(name, str(made.version), "card", card)
    at = artifact_page(str(client.get_run(run_id).info.experiment_id), run_id, card)
    link = f"[The model card]({at}) has its data, its known failures and how to make it again."
    client.update_model_version(name, str(made.version), f"{description}\n\n{link}")
    return made


def packed(project: Project[Params], manifest: Manifest, known: dict[str, str]) -> PackedDataset:
    """A packed dataset as MLflow shows it. Its source is DVC's listing of the shards in the bucket, or the local folder."""
    name = manifest.dataset
    counts = {split: len(manifest.samples(split)) for split in SPLITS}
    bucket, md5 = bucket_of(project.settings), known.get(f"dvc.{Paths().shards(name).as_posix()}")
    source = bucket.url("dvc/files/md5", md5[:2], md5[2:]) if bucket and md5 else project.paths.shards(name).as_posix()
    return PackedDataset(name, manifest.digest, source, counts)


def attribution(tags: Mapping[str, str], known: dict[str, str]) -> dict[str, str]:
    """The lineage tags of the run: ``git_…`` is the code that trained, ``registered_…`` the code that registers.

    Args:
        tags: The run's tags. Where they name the training's commit, it stays.
        known: The current result of ``pipeline.versioning.lineage.lineage``.
    """
    now = {name.removeprefix("git_"): value for name, value in known.items() if name.startswith("git_")}
    rest = {name: value for name, value in known.items() if not name.startswith("git_")}
    then = {name.removeprefix("git_"): value for name, value in tags.items() if name in ("git_commit", "git_dirty")}
    trained = {f"git_{name}": value for name, value in (then if "commit" in then else now).items()}
    return {**trained, **{f"registered_{name}": value for name, value in now.items()}, **rest}


def add_provenance(
    client: MlflowClient,
    run_id: str,
    project: Project[Params],
    manifests: Iterable[Manifest],
    commit: str,
    job: Mapping[str, str] | None,
) -> dict[str, str]:
    """Log what ``rebuild`` needs besides the commit: dvc.lock, the params, and the files that git does not have.

    Returns tags: ``code`` and ``leaks`` (pipeline/registry/provenance.py), where they are known, and ``rebuild``, the artifact
    folder of those files. ``job`` is the origin of a model that a job trained.
    """
    report = leak_report(project)
    leaks = leaking(report, manifests)
    facts = {} if leaks is None else {"leaks": str(leaks)}
    if report.is_file():
        client.log_artifact(run_id, str(report), "data")
    params, code = project.params, None
    if commit and job:
        code = made_by_job(Path(), commit, params.datasets, job, Path(params.architecture, GENOTYPE))
    elif commit:
        code = sources(Path(), commit, params.datasets)
    if code is None or not Path(LOCK).is_file():
        return facts
    return {**facts, "code": code.tag, "rebuild": _log_sources(client, run_id, params, project.paths, code)}


def _log_sources(client: MlflowClient, run_id: str, params: Params, paths: Paths, code: Sources) -> str:
    """Log the files to a folder named by the digest of dvc.lock, since a run may be registered twice; return its name."""
    folder = f"rebuild/{file_digest(Path(LOCK))[:12]}"
    client.log_artifact(run_id, LOCK, folder)
    client.log_artifact(run_id, str(paths.evaluate_metrics), folder)
    client.log_text(run_id, _params_text(params), f"{folder}/params.yaml")
    files = {path: Path(path) for path in code.extra}
    uncached = (paths.history, paths.train_metrics)  # DVC's cache lacks them, and trains again where they are missing
    files |= {path.relative_to(paths.root).as_posix(): path for path in uncached}
    for name, path in files.items():
        if path.is_file():
            client.log_artifact(run_id, str(path), f"{folder}/files/{Path(name).parent.as_posix()}")
    return folder


def _params_text(params: Params, path: Path = Path("params.yaml")) -> str:
    """The text of the file where its params are equal, because DVC compares the file's content; otherwise all params."""
    try:
        if read_params(path) == params:
            return path.read_text()
    except ConfigError:
        pass
    return _dumped(params)


def _dumped(params: Params) -> str:
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(params.model_dump(mode="json", by_alias=True), text)
    return text.getvalue()


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of history.csv without empty cells. Raises DataError where the file cannot be read."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        return [{name: float(value) for name, value in row.items() if value} for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}; make it with `dvc repro train`") from None


def commit_tag(facts: dict[str, str]) -> dict[str, str]:
    """The facts, with the commit also under the tag that MLflow's user interface shows."""
    return {**facts, **({"mlflow.source.git.commit": facts["git_commit"]} if "git_commit" in facts else {})}


def add_results(client: MlflowClient, run_id: str, params: Params, paths: Paths, history: list[dict[str, float]]) -> None:
    """Log metrics, plots, pictures, the learning curve, the params of this run, and dvc.lock."""
    for path in (paths.history, paths.images, *([paths.report] if paths.report.is_file() else [])):
        client.log_artifact(run_id, str(path), "plots")
    client.log_artifacts(run_id, str(paths.pictures), "plots/pictures")
    for path in (paths.train_metrics, paths.evaluate_metrics):
        client.log_artifact(run_id, str(path), "metrics")
    if Path(LOCK).is_file():
        client.log_artifact(run_id, LOCK)
    with TemporaryDirectory() as folder:
        write_png(Path(folder, "learning.png"), learning_curve(history))
        client.log_artifact(run_id, f"{folder}/learning.png", "plots")
    client.log_text(run_id, _dumped(params), "params.yaml")


def add_card(
    client: MlflowClient,
    run_id: str,
    params: Params,
    network: Restorer,
    used: list[Used],
    paths: Paths,
    facts: Mapping[str, str],
) -> str:
    """Log the version's model card under a path that no other version uses; return that path."""
    price = cost(network.config)
    what = {"kind": network.config.kind, "parameters": f"{price.parameters:,}", f"GFLOP at {SIDE}x{SIDE}": f"{price.gflop:.3g}"}
    card = write_card(params.register_.model, what, used, paths.images, facts, flatten(params))
    path = f"{CARDS}/{facts['version']}.md"
    client.log_text(run_id, card, path)
    return path


def _json(path: Path, stage: str) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; make it with `dvc repro {stage}`") from None


def _show(made: Registered, alias: str, overall: dict[str, Any], added: int) -> None:
    uri = f"models:/{made.name}@{alias}" if alias else f"models:/{made.name}/{made.version}"
    rows = [
        ["model", f"{uri} (version {made.version})" if alias else f"{uri} (of the experiment {dvc_experiment()}, no alias)"],
        ["MLflow run", made.run_id],
        ["test images", f"{overall['derained']['psnr_y']:.2f} dB PSNR-Y, {overall['gain_psnr_y']:+.2f} dB over the rainy ones"],
    ]
    table("register", ["", ""], rows)
    if added:
        say(f"{added} figures that were missing in the run were added from the history")
    say(f"use it:      python -m pipeline derain photo.png out.png --model {uri}")
