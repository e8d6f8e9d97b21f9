"""``restore``: put a backup back into an empty place, and compare what MLflow then has with what was backed up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pipeline.backup import inventory
from pipeline.backup.database import database_of, is_empty, load
from pipeline.backup.make import BUCKET, DATABASE, REGISTRY, RUNNING, local_artifacts
from pipeline.backup.registered import compare
from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say
from pipeline.storage.objects import copy_back, names
from pipeline.storage.s3 import bucket_of, check_bucket
from pipeline.tracking.relocation import FOLDER
from rdmc.errors import ConfigError


def run(project: Project[Params], backup: Path, replace: bool = False, check_only: bool = False) -> None:
    """Restore ``backup`` and verify it; with ``check_only`` only compare MLflow with it.

    Objects come back before the database that refers to them. Raises, before anything is changed, DataError for a damaged
    backup and ConfigError where the database or the bucket is in use and ``replace`` is not set; ServiceError.
    """
    inventory.verify(backup)
    expected = json.loads((backup / REGISTRY).read_text())
    if not check_only:
        _put_back(project, backup, replace)
    count = compare(project, expected)
    say(f"restore: {count} versions, aliases and history are those of the backup, and all weights have their digests")


def _put_back(project: Project[Params], backup: Path, replace: bool) -> None:
    uri, bucket = database_of(project.settings), bucket_of(project.settings)
    check_bucket(project.settings)
    if (backup / BUCKET).is_dir() and not bucket:
        raise ConfigError("RDMC_BUCKET: is not set, and the backup has objects of a bucket; set it to the bucket to fill")
    artifacts = local_artifacts(uri)
    if not replace:
        used = [
            *([] if is_empty(uri) else ["the database has tables"]),
            *(["the bucket has objects"] if bucket and names(bucket, RUNNING) else []),
            *([f"{artifacts} exists"] if artifacts.exists() else []),
        ]
        if used:
            raise ConfigError(f"{backup}: {', '.join(used)}; name empty places, or add --replace to write over them")
    if bucket and (backup / BUCKET).is_dir():
        copy_back(backup / BUCKET, bucket)
    if (backup / FOLDER).is_dir():
        shutil.copytree(backup / FOLDER, artifacts, dirs_exist_ok=True)
    load(uri, backup / DATABASE)
