"""``check``: refuse params, settings and paths that a stage would refuse, before DVC deletes what that stage wrote last.

DVC deletes the outputs of a stage before it runs the stage. So a typo in params.yaml would cost the results until
``dvc checkout``, if only the stage itself found it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.cluster import own_ray, workers
from pipeline.config.data import Dataset, Embedded, PairFolders, Published
from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_architecture, with_overrides
from pipeline.versioning.dvc import LOCK, LockedStage, folder_files, folder_md5, read_lock
from rdmc.data.sampling import local_batch_size
from rdmc.datasets.benchmarks.registry import benchmark
from rdmc.datasets.matching import find
from rdmc.errors import ConfigError, DataError
from rdmc.files import file_digest, write_text
from rdmc.training.vgg19 import find_weights

PASSED = "passed\n"
"""What the stage writes. It is always the same, so a change of params runs no other stage again."""


def run(project: Project[Params]) -> None:
    """Check a project whose params and settings have been read, which has checked most of them, and write ``data/checked``.

    Raises what ``prepare`` or ``train`` would raise. ConfigError: the architecture does not exist or does not fit, the batch
    does not divide among the workers, or a benchmark is unknown. CheckpointError: the VGG19 weights are not there. DataError:
    a dataset's files are not there. Datasets that DVC has prepared with the same params need their files no more.
    """
    params, settings = with_architecture(project.params), project.settings
    if settings.workers or own_ray(settings):  # else a cluster decides, which is asked when the training starts
        local_batch_size(params.train.global_batch_size, workers(settings))
    if params.loss.needs_vgg19:
        find_weights(params.loss.vgg19_weights, params.loss.vgg19_sha256)
    locked = {stage.name: stage for stage in read_lock(project.paths.root / LOCK) or []}
    for name, dataset in params.datasets.items():
        if not _is_prepared(params, name, locked):
            _find_files(dataset)
    write_text(project.paths.checked, PASSED)


def _is_prepared(params: Params, name: str, locked: Mapping[str, LockedStage]) -> bool:
    """Whether dvc.lock says that ``prepare`` has run for the dataset with these params and this code, so DVC skips it."""
    stage = locked.get(f"prepare@{name}")
    if stage is None or not stage.params or stage.params.get("prepare") != params.prepare.model_dump(mode="json"):
        return False
    try:
        if with_overrides(params, stage.params) != params:
            return False
    except ConfigError:  # params of an older version of this project
        return False
    return all(_md5(Path(path)) == md5 for path, md5 in stage.deps.items() if Path(path) != Paths().checked)


def _md5(dep: Path) -> str:
    """DVC's digest of a file or a folder; empty where it is not there."""
    if dep.is_dir():
        return folder_md5(folder_files(dep))
    return file_digest(dep, "md5") if dep.is_file() else ""


def _find_files(dataset: Dataset) -> None:
    """Raise DataError or ConfigError where ``prepare`` would find none of a dataset's files."""
    if isinstance(dataset, Embedded):
        return
    if isinstance(dataset, Published):
        benchmark(dataset.name)
        if not Path(dataset.path).is_dir():
            raise DataError(
                f"{dataset.path}: no such folder; unpack a copy there with `python -m pipeline fetch SOURCE {dataset.path}`"
            )
        return
    for pairs in (dataset.train, dataset.validation, dataset.test):
        if pairs is not None:
            for pattern in (pairs.rainy, pairs.clean) if isinstance(pairs, PairFolders) else (pairs.images,):
                find(pattern)
