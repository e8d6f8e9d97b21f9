"""Opening datasets, with a real S3 server and real DVC."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage import dvc_remote as remote
from pipeline.storage.datasets import dataset_folder
from pipeline.storage.dvc_remote import connect
from rdmc.data.loader import PairStore
from rdmc.data.shards import MANIFEST, read_manifest
from rdmc.errors import DataError
from tests.support.data import toy_project
from tests.support.pushed import contents, dvc, objects, pairs, same
from tests.support.s3 import S3Server


def test_plain_dvc_push_and_pull_use_the_bucket(pushed: Path, settings: Settings, s3: S3Server) -> None:
    files = contents(pushed / "source")
    assert len(objects(settings, s3)) == len(files) + 1
    connect(settings, pushed)
    dvc(pushed, "pull")
    assert contents(pushed / "data/shards/light") == files
    config = (pushed / ".dvc/config.local").read_text()
    assert s3.endpoint in config
    assert s3.secret_key not in config
    assert s3.access_key not in config


def test_shards_are_downloaded_on_demand_and_once(
    pushed: Path, settings: Settings, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Paths(pushed)
    local = PairStore([pushed / "source"], "train")
    folder = dataset_folder(toy_project(settings, workspace), "light")
    assert [path.name for path in folder.iterdir()] == [MANIFEST]
    assert pushed / ".cache" in folder.parents
    monkeypatch.setattr(remote, "PART", 5_000)  # several ranges a shard
    assert same(pairs(settings, workspace), [local[i] for i in range(len(local))])
    shards = {shard.md5 for shard in read_manifest(folder / MANIFEST).shards if shard.split == "train"}
    assert {path.stem for path in (pushed / ".cache/shards").glob("*.tar")} == shards
    for item in objects(settings, s3).values():
        item.delete()
    assert same(pairs(settings, workspace), [local[i] for i in range(len(local))])  # from the cache alone
    with pytest.raises(DataError, match="no such object"):
        pairs(settings, workspace, "test")


def test_settings_choose_the_folder_and_size_of_the_shard_cache(pushed: Path, settings: Settings, tmp_path: Path) -> None:
    elsewhere = settings.model_copy(update={"shard_cache": str(tmp_path / "disk"), "shard_cache_mb": 1})
    assert len(pairs(elsewhere, Paths(pushed))) == 5
    assert list((tmp_path / "disk").glob("*.tar"))
    assert not (pushed / ".cache/shards").exists()


def test_local_shards_are_used_without_asking_the_bucket(repo: Path) -> None:
    settings = Settings(bucket="s3://nowhere-at-all")
    assert dataset_folder(toy_project(settings, Paths(repo)), "light") == repo / "data/shards/light"
    assert len(pairs(settings, Paths(repo))) == 5
    shard = next((repo / "data/shards/light").glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{shard.name}: .* bytes, the manifest says"):
        pairs(settings, Paths(repo))


def test_missing_shards_without_a_bucket_are_an_error_with_the_remedy(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the project's own dvc.lock must not count
    with pytest.raises(DataError, match=r"data/shards/light: no manifest.json; run `dvc repro pack`, or `dvc pull`, or set"):
        dataset_folder(toy_project(Settings(bucket=""), Paths(tmp_path)), "light")
    with pytest.raises(DataError, match=r"neither on disk nor in dvc.lock"):
        dataset_folder(toy_project(settings, Paths(tmp_path)), "light")
