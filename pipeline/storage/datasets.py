"""The packed datasets of a project: on the local disk, or in the bucket under the digests of dvc.lock."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.storage.dvc_remote import BucketShards, Remote
from pipeline.storage.s3 import bucket_of
from pipeline.storage.shard_cache import ShardCache
from pipeline.versioning.dvc import FOLDER, folder_md5, recorded_md5, recorded_out
from rdmc.data.loader import Fetch, PairStore, local_shard
from rdmc.data.shards import MANIFEST, Manifest, read_manifest
from rdmc.errors import DataError
from rdmc.files import file_digest, write_bytes

P = TypeVar("P", bound=Recipe)


def open_pairs(
    project: Project[Recipe],
    split: str,
    datasets: Collection[str] | None = None,
    cache_mb: int | None = None,
    allow_empty: bool = False,
) -> PairStore:
    """The pairs of a split, by position, of all the project's datasets or of those named.

    The manifests are read at once. A shard that is not beside its manifest is downloaded when one of its pairs is requested.
    It is verified and kept in the node's shard cache.

    Args:
        project: The project.
        split: train, validation or test.
        datasets: Names of some of the project's datasets; None means all.
        cache_mb: MiB of decoded pairs to keep in memory; None means the value in the settings.
        allow_empty: Accept a split without pairs.

    Raises:
        DataError: There are no shards and no bucket, a manifest or shard is missing or damaged, or the split has no pairs.
        ServiceError: The bucket cannot be reached.
    """
    names = project.params.datasets if datasets is None else datasets
    folders = [dataset_folder(project, name) for name in names]
    memory = project.settings.cache_mb if cache_mb is None else cache_mb
    return PairStore(folders, split, memory, allow_empty, _fetch(project))


def with_digests(project: Project[P]) -> Project[P]:
    """The project with the digest of each dataset's shards, so that its workers need neither dvc.lock nor a shared disk.

    The driver calls this once. Shards on its disk count as they are; for others, dvc.lock counts. Without a bucket, data must
    lie on a disk that all workers share, and the project is returned unchanged.

    Raises DataError where a dataset is neither on disk nor in dvc.lock, or one of them is damaged.
    """
    if not bucket_of(project.settings):
        return project
    names = project.params.datasets
    return replace(project, digests={name: project.digests.get(name) or _digest(project, name) for name in names})


def _digest(project: Project[Recipe], dataset: str) -> str:
    local = project.paths.shards(dataset)
    return packed_md5(local) if (local / MANIFEST).is_file() else recorded_md5(project.paths, dataset)


def packed_md5(folder: Path) -> str:
    """DVC's md5 (``….dir``) of a folder of shards. The manifest has the md5 of each shard, so shards are not read."""
    files = {shard.name: shard.md5 for shard in read_manifest(folder / MANIFEST).shards}
    for path in folder.iterdir():
        if path.is_file() and path.name not in files and not path.name.startswith("."):
            files[path.name] = file_digest(path, "md5")
    return folder_md5(files)


def read_manifests(project: Project[Recipe]) -> dict[str, Manifest]:
    """The manifests by dataset name. Raises what ``dataset_folder`` raises, and DataError for a damaged manifest."""
    return {name: read_manifest(dataset_folder(project, name) / MANIFEST) for name in project.params.datasets}


def dataset_folder(project: Project[Recipe], dataset: str) -> Path:
    """The folder with a dataset's manifest: ``data/shards/<dataset>``, or a copy of the manifest from the bucket.

    The copy comes without shards. It is downloaded from DVC's remote by its md5, verified, and kept in ``.cache/manifests``.
    The md5 is the project's, or that of dvc.lock where the project has none. A folder with other shards than the project's,
    such as an old copy on a worker's disk, does not count.

    Raises:
        DataError: There are no shards and no bucket, or an object is missing or damaged.
        ServiceError: The bucket cannot be reached.
    """
    local = project.paths.shards(dataset)
    known = project.digests.get(dataset)
    if (local / MANIFEST).is_file() and known in (None, packed_md5(local)):
        return local
    bucket = bucket_of(project.settings)
    if not bucket:
        raise DataError(f"{local}: no manifest.json; run `dvc repro pack`, or `dvc pull`, or set RDMC_BUCKET to their bucket")
    listed = known or recorded_md5(project.paths, dataset)
    folder = _node(project.paths).manifests / listed.removesuffix(FOLDER)
    if not (folder / MANIFEST).is_file():
        remote = Remote(bucket)
        write_bytes(folder / MANIFEST, remote.load(_manifest_md5(remote, listed)))
    return folder


def require_pushed(project: Project[Recipe]) -> None:
    """Raise DataError unless the bucket has the manifests of the project's ``digests``. `dvc push` uploads the listing last."""
    if bucket := bucket_of(project.settings):
        remote = Remote(bucket)
        for listed in project.digests.values():
            remote.require(_manifest_md5(remote, listed))


def _manifest_md5(remote: Remote, listed: str) -> str:
    """The md5 of the manifest in DVC's listing of a dataset's shards. Raises DataError where either is missing."""
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(remote.load(listed))}
    if MANIFEST not in files:
        raise DataError(f"{remote.bucket.url('dvc')}: {listed} lists no {MANIFEST}; run `dvc push` again where the shards are")
    return str(files[MANIFEST])


def leak_report(project: Project[Recipe]) -> Path:
    """``data/leaks.json``, or, where neither it nor shards are on disk, a copy from the bucket by the md5 in dvc.lock.

    The file is missing where the bucket does not have it either. Raises ServiceError where the bucket cannot be reached.
    """
    paths, bucket = project.paths, bucket_of(project.settings)
    here = [paths.leaks, *(paths.shards(name) / MANIFEST for name in project.params.datasets)]
    if not bucket or any(path.is_file() for path in here):
        return paths.leaks
    md5 = recorded_out(paths, Paths().leaks.as_posix())
    if not md5:
        return paths.leaks
    copy = _node(paths).manifests / md5 / paths.leaks.name
    if not copy.is_file():
        with suppress(DataError):  # `dvc push` did not push it; the gate says what that means
            write_bytes(copy, Remote(bucket).load(md5))
    return copy


def _fetch(project: Project[Recipe]) -> Fetch:
    """How a ``PairStore`` gets shards: from beside their manifest, else from the bucket through the node's cache."""
    bucket = bucket_of(project.settings)
    if not bucket:
        return local_shard
    chosen = project.settings.shard_cache
    folder = Path(chosen) if chosen else _node(project.paths).shard_cache
    return BucketShards(Remote(bucket), ShardCache(folder.absolute(), project.settings.shard_cache_mb))


def _node(paths: Paths) -> Paths:
    """The paths for caches on this machine: ``paths``, or below ``~/.rdmc`` where their folder cannot be made or written.

    A worker has the paths of the driver, whose folder may belong to another user or to no folder of the worker's machine.
    """
    try:
        paths.manifests.mkdir(parents=True, exist_ok=True)
        if os.access(paths.manifests, os.W_OK):
            return paths
    except OSError:
        pass
    return Paths(Path.home() / ".rdmc")
