"""``search``: find a smaller architecture, that is, RDMC's best connections and upsampling (rdmc/training/search.py)."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.cluster import cluster, workers
from pipeline.config.project import Project
from pipeline.config.recipe import Recipe, fingerprint, flatten, with_architecture
from pipeline.console import TrainingDisplay, say, table
from pipeline.storage.datasets import open_pairs, with_digests
from pipeline.storage.lease import training_lease
from pipeline.storage.runs import run_files
from pipeline.storage.s3 import check_bucket
from pipeline.tracking.run_info import TRAINED, only, run_tags, run_title
from pipeline.tracking.tracker import Tracker
from pipeline.training.checkpoints import forget, opened
from pipeline.training.ray_train import launch
from pipeline.training.run_log import RunLog
from pipeline.versioning.git import commit_tags
from pipeline.versioning.lineage import code_digest
from rdmc.checkpoint import load_model, write_model
from rdmc.errors import CheckpointError
from rdmc.files import new_folder, write_text
from rdmc.models.cost import SIDE
from rdmc.models.genotype import GENOTYPE, Genotype, derive, genotype_of
from rdmc.models.rdmc import RDMC
from rdmc.training.search import SearchRun, require_searchable, split
from rdmc.training.speed import Speed


def run(project: Project[Recipe]) -> None:
    """Search on the cluster of the settings and write ``architectures/searched``: the genotype, and a model ready for use.

    Raises, before anything starts, ConfigError where there is nothing to search and DataError where the training pairs
    cannot be split in two.
    """
    project = project.with_params(with_architecture(project.params))
    params, settings, paths = project.params, project.settings, project.paths
    require_searchable(params.network, params.search)
    check_bucket(settings)
    project = with_digests(project)  # workers may lie on other machines, without dvc.lock
    pairs, validation = open_pairs(project, "train"), open_pairs(project, "validation", allow_empty=True)
    sides = split(pairs, params.search, params.seed)
    name = run_name(params, [pairs.digest, code_digest()])
    with training_lease(project, name), cluster(settings):
        log = RunLog(run_files(project).at_once(), name)  # a search that was stopped resumes in the same MLflow run
        steps, shares = params.search.steps, f"{len(sides[0])} pairs for the weights, {len(sides[1])} for the architecture"
        say(f"search: {steps} steps on {workers(settings)} workers, {shares}, run {name}")
        commit = commit_tags()
        about = f"Search for an architecture of RDMC: {shares}. On the terminal it is `{name}`."
        tags = {**commit, "stage": "search", **run_tags("search", about, commit["git_commit"])}
        title = run_title(params.network.kind, params.network.width, list(params.datasets), "search")
        shown = only(flatten(params), (*TRAINED, "search"))
        with (
            Tracker.start(settings, title, shown, tags, run_id=log.run_id) as tracker,
            TrainingDisplay(steps) as display,
            log.following(tracker, display) as follow,
        ):
            result = launch(project, name, follow, validates=len(validation) > 0, make=searching)
            with opened(result.last) as folder:
                genotype = write_searched(folder, params.search.keep, paths.searched)
            tracker.attach({GENOTYPE: genotype.to_json()}, genotype.flat())
        if forget(project, name):
            log.drop()
    _summary(genotype, paths.searched)


def searching(params: Recipe, device: torch.device, speed: Speed) -> SearchRun:
    """Make the search that each worker runs."""
    return SearchRun(params.network, params.loss, params.train, params.search, params.seed, device, speed)


def run_name(params: Recipe, digests: list[str]) -> str:
    """A name derived from params, data and code. Equal inputs give the same name, so a stopped run is found again."""
    return f"search-{fingerprint(params, dict.fromkeys(('seed', 'loss', 'train', 'search'), True), *digests)[:12]}"


def write_searched(source: Path, keep: int, target: Path) -> Genotype:
    """Reduce the searched network of a model folder to its ``keep`` strongest connections and write it to ``target``.

    The new folder replaces an older one as a whole. Raises CheckpointError where the network in ``source`` is not an RDMC.
    """
    network, facts = load_model(source)
    if not isinstance(network, RDMC):
        raise CheckpointError(f"{source}: a {network.config.kind}, which has no architecture; search with network.kind: rdmc")
    config, weights = derive(network.config, network.state_dict(), keep)
    genotype = genotype_of(RDMC(config), network)
    # the validation figures are those of the network before the cut
    remaining = {key: value for key, value in facts.items() if key not in ("network", "validation")}
    with new_folder(target) as folder:
        write_model(folder, config, weights, remaining)
        write_text(folder / GENOTYPE, genotype.to_json())
    return genotype


def _summary(genotype: Genotype, folder: Path) -> None:
    kept = {True: "kept", False: "cut"}
    rows = [[name, f"{value:+.4f}", kept[name in genotype.connections]] for name, value in genotype.strengths.items()]
    rows += [[name, f"{value:.4f}", kept[name == genotype.upsample]] for name, value in genotype.mix.items()]
    table("search", ["", "strength", ""], rows)
    if genotype.before and genotype.after:
        before, after = genotype.before, genotype.after
        say(
            f"{before.parameters / 1e6:.3g} -> {after.parameters / 1e6:.3g} M parameters, "
            f"{before.gflop:.3g} -> {after.gflop:.3g} GFLOP for {SIDE}x{SIDE} pixels"
        )
    say(f"train it:    dvc exp run -S architecture={folder}")
