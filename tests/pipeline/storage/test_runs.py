"""Ray's storage, in a folder and in a bucket of a real S3 server."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import boto3
import pyarrow.fs
import pytest
import ray.train

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage.runs import ray_storage
from tests.support.data import toy_project
from tests.support.s3 import S3Server


def test_a_ray_checkpoint_is_written_to_the_bucket_and_read_back(settings: Settings, s3: S3Server, tmp_path: Path) -> None:
    path, files = ray_storage(toy_project(settings, Paths(tmp_path)))
    assert isinstance(files, pyarrow.fs.FileSystem)
    assert s3.secret_key.encode() not in pickle.dumps(files)
    worker = pickle.loads(pickle.dumps(files))
    (tmp_path / "made/inner").mkdir(parents=True)
    (tmp_path / "made/model.json").write_text("{}")
    (tmp_path / "made/inner/model.safetensors").write_bytes(os.urandom(9_000_000))
    assert not files.get_file_info(f"{path}/run/checkpoint_0").is_file
    pyarrow.fs.copy_files(str(tmp_path / "made"), f"{path}/run/checkpoint_0", destination_filesystem=worker)
    listed = files.get_file_info(pyarrow.fs.FileSelector(f"{path}/run"))  # must not be a cached listing
    assert [entry.base_name for entry in listed] == ["checkpoint_0"]
    back = Path(ray.train.Checkpoint(f"{path}/run/checkpoint_0", files).to_directory(tmp_path / "back"))
    assert (back / "inner/model.safetensors").read_bytes() == (tmp_path / "made/inner/model.safetensors").read_bytes()
    assert (
        boto3.Session().client("s3").list_objects_v2(Bucket=path.split("/")[0], Prefix="some/prefix/ray/run/")["KeyCount"] == 2
    )
    files.delete_dir(f"{path}/run/checkpoint_0")
    assert files.get_file_info(f"{path}/run/checkpoint_0").type == pyarrow.fs.FileType.NotFound


def test_ray_storage_is_the_folder_of_the_settings_or_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_storage(toy_project(Settings(storage="/mnt/shared"), Paths())) == ("/mnt/shared", None)
    monkeypatch.chdir(tmp_path)
    assert ray_storage(toy_project(Settings(), Paths())) == (str(tmp_path / "runs"), None)
    assert ray_storage(toy_project(Settings(storage="shared"), Paths())) == (str(tmp_path / "shared"), None)
