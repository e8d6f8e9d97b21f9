"""All objects of a bucket, to a folder and back, on a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.storage import objects
from pipeline.storage.s3 import Bucket
from rdmc.errors import DataError, ServiceError
from tests.support.s3 import s3_server


def test_objects_travel_to_a_folder_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path / "server") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        first, second = server.bucket("first"), server.bucket("second")
        kept = {"main/dvc/ab/cd": b"shard", "main/mlflow/1/weights": bytes(range(256)) * 9000, "main/one": b""}
        for key, data in {**kept, "main/ray/train-x/state": b"moves", "mainly/other": b"another prefix"}.items():
            first.put_object(Key=key, Body=data)
        bucket = Bucket("first", "main")
        chosen = objects.names(bucket, ("ray",))
        assert chosen == ["dvc/ab/cd", "mlflow/1/weights", "one"]
        assert objects.names(bucket) == [*chosen, "ray/train-x/state"]
        objects.copy_here(bucket, chosen, tmp_path / "copy")
        assert objects.copy_back(tmp_path / "copy", Bucket("second", "")) == 3
        assert {f"main/{item.key}": item.get()["Body"].read() for item in second.objects.all()} == kept
        with pytest.raises(ServiceError, match="s3://none: no such bucket"):
            objects.names(Bucket("none", ""))


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "s3_client", lambda **_: None)
    with pytest.raises(DataError, match="its name leads out of a folder"):
        objects.copy_here(Bucket("first", "main"), ["../../outside"], tmp_path / "copy")
