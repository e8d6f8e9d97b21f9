"""All objects under the bucket's prefix: copied to a folder and back."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pipeline.console import track
from pipeline.storage.s3 import Bucket, refusals, s3_client
from rdmc.errors import DataError

SAFE = {"connect_timeout": 3, "read_timeout": 60, "retries": {"max_attempts": 5}}


def names(bucket: Bucket, but: Collection[str] = ()) -> list[str]:
    """The objects under the prefix, by their names below it, sorted; without those in the folders ``but``. ServiceError."""
    with refusals(bucket.url()):
        found = _names(s3_client(**SAFE), bucket)
        return sorted(name for name in found if name.split("/")[0] not in but)


def _names(client: Any, bucket: Bucket) -> Iterator[str]:
    start = bucket.key("") and f"{bucket.key('')}/"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=start):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):  # an empty object that stands for a folder
                yield str(item["Key"]).removeprefix(start)


def copy_here(bucket: Bucket, chosen: list[str], folder: Path) -> None:
    """Copy objects to files below ``folder``. Raises DataError for a name that leads out of it, ServiceError."""
    with refusals(bucket.url()):
        client = s3_client(**SAFE)
        for index in track(range(len(chosen)), "from the bucket"):
            target = folder / chosen[index]
            if not target.resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{bucket.url(chosen[index])}: its name leads out of a folder; rename or delete it")
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket.name, bucket.key(chosen[index]), str(target))


def copy_back(folder: Path, bucket: Bucket) -> int:
    """Copy all files below ``folder`` to objects; return how many. Raises ServiceError."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with refusals(bucket.url()):
        client = s3_client(**SAFE)
        for index in track(range(len(files)), "to the bucket"):
            name = files[index].relative_to(folder).as_posix()
            client.upload_file(str(files[index]), bucket.name, bucket.key(name))
    return len(files)
