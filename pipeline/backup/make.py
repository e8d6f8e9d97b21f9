"""``backup``: copy MLflow's database and artifacts, the registry's state and the bucket into a new folder."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from pipeline.backup import inventory
from pipeline.backup.database import SQLITE, database_of, dump
from pipeline.backup.registered import snapshot
from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say, table
from pipeline.storage.objects import copy_here, names
from pipeline.storage.s3 import bucket_of, check_bucket
from pipeline.tracking.client import sqlite_path
from pipeline.tracking.relocation import FOLDER, artifact_folder
from rdmc.files import new_folder, write_text

DATABASE, BUCKET, REGISTRY = "database", "bucket", "registry.json"
RUNNING = ("ray",)
"""Folders of the bucket that are left out: checkpoints of trainings that run, which change while they are copied."""


def local_artifacts(uri: str) -> Path:
    """Where the artifacts of a database lie if they are in no bucket: beside a SQLite file, else in the working folder."""
    return artifact_folder(sqlite_path(uri) or Path(SQLITE))


def run(project: Project[Params], parent: Path) -> Path:
    """Write a backup into a new folder of ``parent``, named by the time, and return it. Half a backup never has that name.

    The database comes first: what it refers to is in the bucket by then, for objects are written before they are referred to.
    Raises ConfigError for a database that is not known, ServiceError if it, MLflow or the bucket fails.
    """
    settings, uri, bucket = project.settings, database_of(project.settings), bucket_of(project.settings)
    check_bucket(settings)
    target = parent / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with new_folder(target) as folder:
        (folder / DATABASE).mkdir()
        state = snapshot(project)
        dump(uri, folder / DATABASE)
        write_text(folder / REGISTRY, json.dumps(state, indent=1) + "\n")
        if (artifacts := local_artifacts(uri)).is_dir():
            shutil.copytree(artifacts, folder / FOLDER)
        objects = names(bucket, RUNNING) if bucket else []
        if bucket:
            copy_here(bucket, objects, folder / BUCKET)
        files = inventory.write(folder)
    rows = [
        ["registered versions", str(len(state["versions"]))],
        ["aliases", ", ".join(f"{name}: {number}" for name, number in sorted(state["aliases"].items())) or "none"],
        ["entries of the history", str(len(state["history"]))],
        ["objects of the bucket", f"{len(objects)}, without {RUNNING[0]}/" if bucket else "no bucket is set"],
        ["files, with digests", str(len(files))],
    ]
    table("backup", ["", ""], rows)
    say(f"backup: {target}; put it back with `python -m pipeline restore {target}`")
    return target
