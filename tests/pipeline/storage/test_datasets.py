"""Opening datasets, with a real S3 server and real DVC."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage import dvc_remote as remote
from pipeline.storage.datasets import dataset_folder, open_pairs, packed_md5, with_digests
from pipeline.storage.dvc_remote import connect
from pipeline.versioning.dvc import locked_outs
from rdmc.data.loader import PairStore
from rdmc.data.shards import MANIFEST, read_manifest
from rdmc.errors import DataError
from tests.support.data import make_dataset, toy_project
from tests.support.imports import ROOT
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


WORKER = """
import json, sys
from pipeline.config.project import from_plain
from pipeline.config.recipe import Recipe
from pipeline.storage.datasets import dataset_folder, open_pairs
project = from_plain(json.load(sys.stdin), Recipe)
store = open_pairs(project, "train")
pixels = sum(int(store[i].rainy.sum(dtype="int64")) for i in range(len(store)))
print(json.dumps([store.digest, pixels, str(dataset_folder(project, "light"))]))
"""


def as_worker(plain: dict[str, object], folder: Path) -> tuple[str, int, Path]:
    """Read the data in a fresh process with an empty working folder and an empty home; returns digest, pixels and folder."""
    (folder / "cwd").mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("AWS_")}
    environment = {**kept, "HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WORKER]
    done = subprocess.run(
        command, cwd=folder / "cwd", env=environment, input=json.dumps(plain), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    digest, pixels, where = json.loads(done.stdout)
    assert list((folder / "cwd").iterdir()) == []
    return digest, pixels, Path(where)


def expected(folder: Path) -> tuple[str, int]:
    store = PairStore([folder], "train")
    return store.digest, sum(int(store[i].rainy.sum(dtype="int64")) for i in range(len(store)))


def test_a_worker_elsewhere_needs_no_file_of_the_project(
    pushed: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pushed)  # the driver's folder, with dvc.lock; RDMC_DATA names another one
    project = with_digests(toy_project(settings.model_copy(update={"data": str(tmp_path / "data")}), Paths(tmp_path / "data")))
    (tmp_path / "file").touch()
    roots = {"writable": tmp_path / "worker-root", "elsewhere": tmp_path / "file/root"}
    for name, root in roots.items():
        digest, pixels, where = as_worker({**project.to_plain(), "root": str(root)}, tmp_path / name)
        assert (digest, pixels) == expected(pushed / "source")
        home = root if name == "writable" else tmp_path / name / "home/.rdmc"
        assert where.parent == home / ".cache/manifests", "where the folder cannot be made, the caches are in the home"


def test_a_worker_with_an_old_copy_reads_the_driver_s_data(
    pushed: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pushed)
    project, old = with_digests(toy_project(settings, Paths(tmp_path / "data"))), Paths(tmp_path / "old")
    make_dataset(old, "light", {"train": 2})
    digest, pixels, where = as_worker({**project.to_plain(), "root": str(old.root)}, tmp_path / "worker")
    assert (digest, pixels) == expected(pushed / "source")
    assert where != old.shards("light")
    shutil.rmtree(old.shards("light"))
    shutil.copytree(pushed / "source", old.shards("light"))
    assert as_worker({**project.to_plain(), "root": str(old.root)}, tmp_path / "same")[2] == old.shards("light")


def test_the_digest_of_shards_on_disk_is_dvc_s(repo: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo / "data/shards/light"
    assert packed_md5(folder) == locked_outs(repo)["data/shards/light"]
    monkeypatch.chdir(repo)
    assert with_digests(toy_project(settings, Paths(repo))).digests == {"light": packed_md5(folder)}
    (folder / "quarantine.json").write_text("[]")
    changed = with_digests(toy_project(settings, Paths(repo)))
    assert changed.digests == {"light": packed_md5(folder)} != {"light": locked_outs(repo)["data/shards/light"]}
    assert len(open_pairs(changed, "train")) == 5, "from the disk, since they were never pushed"
    shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"no such object; run `dvc push` where the shards are"):
        open_pairs(changed, "train")
    assert with_digests(toy_project(Settings(bucket=""), Paths(repo))).digests == {}, "without a bucket, the disk is shared"
