"""pipeline.storage against a real S3 server and real DVC."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import boto3
import pyarrow.fs
import pytest
import ray.train

from pipeline import storage
from pipeline.settings import Settings
from pipeline.shard_cache import ShardCache
from pipeline.workspace import Workspace
from rdmc.data.loader import Pair, PairStore
from rdmc.data.shards import MANIFEST, read_manifest
from rdmc.errors import ConfigError, DataError, ServiceError
from tests.support.data import make_dataset
from tests.support.faults import FAULTS, FaultyProxy
from tests.support.s3 import S3Server


@pytest.fixture
def settings(s3: S3Server) -> Settings:
    """Settings with a bucket of this test's own."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.bucket(name)
    return Settings(bucket=f"s3://{name}/some/prefix/")


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments, "--quiet"], cwd=root, check=True)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository whose one stage has packed `light` from a source folder."""
    root = tmp_path_factory.mktemp("packed") / "repo"
    root.mkdir(parents=True)
    made = Workspace(tmp_path_factory.mktemp("made"))
    make_dataset(made, "light")
    shutil.copytree(made.shards("light"), root / "source")
    command = "mkdir -p data/shards && cp -r source data/shards/${item.dataset}"
    stage = {"matrix": {"dataset": ["light"]}, "cmd": command, "deps": ["source"], "outs": ["data/shards/${item.dataset}"]}
    (root / "dvc.yaml").write_text(json.dumps({"stages": {"pack": stage}}))
    subprocess.run(["git", "init", "--quiet", root], check=True)
    dvc(root, "init")
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    dvc(root, "repro")
    return root


@pytest.fixture
def repo(packed: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(packed, tmp_path / "repo"))


@pytest.fixture(scope="module")
def remote(packed: Path, s3_host: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The bucket after plain `dvc push` in a repository that `connect` has pointed at it."""
    bucket = s3_host.bucket("pushed-once")
    root = Path(shutil.copytree(packed, tmp_path_factory.mktemp("pushed") / "repo"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_host.environment.items():
            patch.setenv(name, value)
        storage.connect(Settings(bucket="s3://pushed-once/some/prefix"), root)
        dvc(root, "push")
    return bucket


@pytest.fixture
def pushed(repo: Path, remote: Any, settings: Settings, s3: S3Server) -> Path:
    """The repository with nothing of the shards left on disk, all of it in a bucket that the test may change."""
    bucket = storage.bucket_of(settings)
    assert bucket
    own = s3.bucket(bucket.name)
    for item in remote.objects.all():
        own.put_object(Key=item.key, Body=item.get()["Body"].read())
    shutil.rmtree(repo / "data")
    shutil.rmtree(repo / ".dvc/cache")
    return repo


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def objects(settings: Settings, s3: S3Server) -> dict[str, Any]:
    """The objects of DVC's remote, by md5."""
    bucket = storage.bucket_of(settings)
    assert bucket
    found = s3.bucket(bucket.name).objects.filter(Prefix=bucket.key("dvc/files/md5/"))
    return {"".join(item.key.split("/")[-2:]): item for item in found}


def pairs(settings: Settings, workspace: Workspace, split: str = "train") -> list[Pair]:
    """All pairs of a split, wherever they are."""
    folder = storage.fetch_dataset(settings, workspace, "light")
    store = PairStore([folder], split, cache_mb=0, fetch=storage.shard_fetch(settings, workspace))
    return [store[i] for i in range(len(store))]


def same(found: list[Pair], expected: list[Pair]) -> bool:
    return [pair.key for pair in found] == [pair.key for pair in expected] and all(
        (a.rainy == b.rainy).all() and (a.clean == b.clean).all() for a, b in zip(found, expected, strict=True)
    )


def shard_objects(settings: Settings, s3: S3Server, root: Path, split: str = "train") -> dict[str, Any]:
    """The objects of a split's shards, by name."""
    found = objects(settings, s3)
    manifest = read_manifest(root / "source" / MANIFEST)
    return {shard.name: found[shard.md5] for shard in manifest.shards if shard.split == split}


def test_plain_dvc_push_and_pull_use_the_bucket(pushed: Path, settings: Settings, s3: S3Server) -> None:
    files = contents(pushed / "source")
    assert len(objects(settings, s3)) == len(files) + 1
    storage.connect(settings, pushed)
    dvc(pushed, "pull")
    assert contents(pushed / "data/shards/light") == files
    config = (pushed / ".dvc/config.local").read_text()
    assert s3.endpoint in config
    assert s3.secret_key not in config
    assert s3.access_key not in config


def test_shards_are_read_from_the_bucket_when_they_are_needed_and_once(
    pushed: Path, settings: Settings, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(pushed)
    local = PairStore([pushed / "source"], "train")
    folder = storage.fetch_dataset(settings, workspace, "light")
    assert [path.name for path in folder.iterdir()] == [MANIFEST]
    assert pushed / ".cache" in folder.parents
    monkeypatch.setattr(storage, "PART", 5_000)  # several ranges a shard
    assert same(pairs(settings, workspace), [local[i] for i in range(len(local))])
    shards = {shard.md5 for shard in read_manifest(folder / MANIFEST).shards if shard.split == "train"}
    assert {path.stem for path in (pushed / ".cache/shards").glob("*.tar")} == shards
    for item in objects(settings, s3).values():
        item.delete()
    assert same(pairs(settings, workspace), [local[i] for i in range(len(local))])  # all from the cache
    with pytest.raises(DataError, match="no such object"):
        pairs(settings, workspace, "test")


def test_a_node_may_keep_its_shards_elsewhere_and_few_of_them(pushed: Path, settings: Settings, tmp_path: Path) -> None:
    elsewhere = settings.model_copy(update={"shard_cache": str(tmp_path / "disk"), "shard_cache_mb": 1})
    assert len(pairs(elsewhere, Workspace(pushed))) == 5
    assert list((tmp_path / "disk").glob("*.tar"))
    assert not (pushed / ".cache/shards").exists()


def test_fetch_on_a_worker_finds_dvc_lock_beside_the_code(
    pushed: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pushed)
    folder = storage.fetch_dataset(settings, Workspace(tmp_path / "scratch"), "light")
    assert tmp_path / "scratch" in folder.parents
    assert (folder / MANIFEST).read_bytes() == (pushed / "source" / MANIFEST).read_bytes()


def test_fetch_takes_local_shards_without_a_word_to_the_bucket(repo: Path) -> None:
    settings = Settings(bucket="s3://nowhere-at-all")
    assert storage.fetch_dataset(settings, Workspace(repo), "light") == repo / "data/shards/light"
    assert len(pairs(settings, Workspace(repo))) == 5
    shard = next((repo / "data/shards/light").glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{shard.name}: .* bytes, the manifest says"):
        pairs(settings, Workspace(repo))


def test_a_damaged_object_is_named_and_the_training_goes_on_when_it_is_mended(
    pushed: Path, settings: Settings, s3: S3Server
) -> None:
    item = next(iter(shard_objects(settings, s3, pushed).values()))
    whole = item.get()["Body"].read()
    for damaged, said in {
        whole[:-1] + bytes([whole[-1] ^ 1]): r"sha256 \w+, not what was packed; delete it, then `dvc push`",
        whole[: len(whole) // 2]: "shorter than what was packed; run `dvc push`",
    }.items():
        item.put(Body=damaged)
        with pytest.raises(DataError, match=rf"^light: train-\d+.tar: s3://.*: {said}") as caught:
            pairs(settings, Workspace(pushed))
        assert "\n" not in str(caught.value)
        assert not list((pushed / ".cache/shards").glob(".*.part"))
    item.put(Body=whole)
    assert len(pairs(settings, Workspace(pushed))) == 5


def test_a_missing_object_is_named_with_the_push(pushed: Path, settings: Settings, s3: S3Server) -> None:
    for item in shard_objects(settings, s3, pushed).values():
        item.delete()
    with pytest.raises(
        DataError, match=r"^light: train-\d+\.tar: s3://test-\w+/some/prefix/dvc/.*: no such object; run `dvc push`"
    ):
        pairs(settings, Workspace(pushed))
    for item in objects(settings, s3).values():
        item.delete()
    shutil.rmtree(pushed / ".cache")
    with pytest.raises(DataError, match=r"\.dir: no such object; run `dvc push`"):
        storage.fetch_dataset(settings, Workspace(pushed), "light")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_tenth_of_all_answers_may_be_spoilt(
    seed: int, pushed: Path, settings: Settings, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PART", 4_000)
    proxy = FaultyProxy(s3.endpoint, 0.1, seed, (*FAULTS[:2], *FAULTS[3:]) if seed else FAULTS)
    local = PairStore([pushed / "source"], "train")
    bucket = storage.bucket_of(settings)
    assert bucket
    cache = ShardCache(pushed / "cache", 1)
    with proxy.running() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        fetch = storage.BucketShards(storage.Remote(bucket, timeout=0.3, pause=0.001), cache)
        for _ in range(4):
            folder = storage.fetch_dataset(settings, Workspace(pushed), "light")
            store = PairStore([folder], "train", cache_mb=0, fetch=fetch)
            assert same([store[i] for i in range(len(store))], [local[i] for i in range(len(local))])
            shutil.rmtree(cache.folder)
    assert len(proxy.met) >= 3
    assert proxy.requests > 10 * len(proxy.met) / 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("5xx", "answers 503 .SlowDown.; try again"),
        ("timeout", "ReadTimeoutError; start the store"),
        ("reset", "Connection.*Error; start the store"),
        ("short", "IncompleteRead|ResponseStreaming|no such|shorter"),
        ("wrong", r"sha256 \w+, not what was packed; delete it, then `dvc push`"),
    ],
)
def test_a_store_that_only_fails_is_one_line(
    fault: str, said: str, pushed: Path, settings: Settings, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = storage.fetch_dataset(settings, Workspace(pushed), "light")
    bucket = storage.bucket_of(settings)
    assert bucket
    monkeypatch.setattr(storage, "TRIES", 3)
    with FaultyProxy(s3.endpoint, 1.0, faults=(fault,)).running() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        cache = ShardCache(pushed / "cache", 1)
        fetch = storage.BucketShards(storage.Remote(bucket, timeout=0.2, pause=0.001), cache)
        with pytest.raises((DataError, ServiceError), match=said) as caught:
            PairStore([folder], "train", fetch=fetch)[0]
    assert "\n" not in str(caught.value)
    assert [path.name for path in cache.folder.iterdir()] == ["locks"]


def test_another_process_gets_no_credentials(settings: Settings, s3: S3Server, tmp_path: Path) -> None:
    fetch = storage.shard_fetch(settings, Workspace(tmp_path))
    assert isinstance(fetch, storage.BucketShards)
    assert fetch.remote.client
    sent = pickle.dumps(fetch)
    assert s3.secret_key.encode() not in sent
    assert s3.access_key.encode() not in sent
    other = pickle.loads(sent)  # noqa: S301
    assert other.remote.bucket == fetch.remote.bucket


def test_fetch_without_shards_or_bucket_says_what_to_run(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the project's own dvc.lock must not count
    with pytest.raises(DataError, match=r"data/shards/light: no manifest.json; run `dvc repro pack`, or `dvc pull`, or set"):
        storage.fetch_dataset(Settings(bucket=""), Workspace(tmp_path), "light")
    with pytest.raises(DataError, match=r"neither on disk nor in dvc.lock"):
        storage.fetch_dataset(settings, Workspace(tmp_path), "light")


@pytest.mark.parametrize("content", ["<<<<<<< ours\nstages: {\n", "- 1", "stages: {pack: {outs: [1]}}"])
def test_a_damaged_dvc_lock_is_named(content: str, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "dvc.lock").write_text(content)
    with pytest.raises(DataError, match=r"dvc.lock: not what DVC writes .*; run `git checkout dvc.lock`") as caught:
        storage.fetch_dataset(settings, Workspace(tmp_path), "light")
    assert "\n" not in str(caught.value)


def _wrong_secret(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")


def _no_secret(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("AWS_SECRET_ACCESS_KEY")


def _nobody_listens(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


def _password_in_the_address(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL_S3", "http://user:hidden@127.0.0.1:9")


def _no_scheme(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_wrong_secret, "refuses these credentials"),
        (_no_secret, "no credentials"),
        (_nobody_listens, "127.0.0.1:9: EndpointConnectionError; start the store or mend AWS_ENDPOINT_URL"),
        (_password_in_the_address, "AWS_ENDPOINT_URL_S3: has a user or password"),
        (_no_scheme, "AWS_ENDPOINT_URL: Invalid endpoint"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line_without_secrets(
    spoil: object, expected: str, settings: Settings, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(spoil)
    spoil(monkeypatch)
    with pytest.raises((ServiceError, ConfigError), match=expected) as caught:
        storage.connect(settings, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert s3.secret_key not in message
    assert "hidden" not in message


def test_an_absent_bucket_is_named_and_not_made(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"s3://absent/x: no such bucket at 127.0.0.1:.*RDMC_BUCKET"):
        storage.connect(Settings(bucket="s3://absent/x"), tmp_path)
    assert "absent" not in [bucket.name for bucket in boto3.Session().resource("s3").buckets.all()]
    with pytest.raises(ConfigError, match="names no bucket"):
        storage.check_bucket(Settings(bucket="s3://"))
    with pytest.raises(ConfigError, match="RDMC_BUCKET: is not set.*set it to"):
        storage.connect(Settings(bucket=""), tmp_path)


def test_connect_outside_a_dvc_repository_says_so(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"dvc remote add: .*; run it in a folder made by `dvc init`"):
        storage.connect(settings, tmp_path)


def test_ray_checkpoints_go_to_the_bucket_and_back(settings: Settings, s3: S3Server, tmp_path: Path) -> None:
    path, files = storage.ray_storage(settings, Workspace(tmp_path))
    assert isinstance(files, pyarrow.fs.FileSystem)
    assert s3.secret_key.encode() not in pickle.dumps(files)
    worker = pickle.loads(pickle.dumps(files))  # noqa: S301
    (tmp_path / "made/inner").mkdir(parents=True)
    (tmp_path / "made/model.json").write_text("{}")
    (tmp_path / "made/inner/model.safetensors").write_bytes(os.urandom(9_000_000))
    assert not files.get_file_info(f"{path}/run/checkpoint_0").is_file
    pyarrow.fs.copy_files(str(tmp_path / "made"), f"{path}/run/checkpoint_0", destination_filesystem=worker)
    listed = files.get_file_info(pyarrow.fs.FileSelector(f"{path}/run"))  # another process's view, not a stale one
    assert [entry.base_name for entry in listed] == ["checkpoint_0"]
    back = Path(ray.train.Checkpoint(f"{path}/run/checkpoint_0", files).to_directory(tmp_path / "back"))
    assert (back / "inner/model.safetensors").read_bytes() == (tmp_path / "made/inner/model.safetensors").read_bytes()
    assert (
        boto3.Session().client("s3").list_objects_v2(Bucket=path.split("/")[0], Prefix="some/prefix/ray/run/")["KeyCount"] == 2
    )
    files.delete_dir(f"{path}/run/checkpoint_0")
    assert files.get_file_info(f"{path}/run/checkpoint_0").type == pyarrow.fs.FileType.NotFound


def test_ray_storage_is_the_named_folder_or_the_local_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage.ray_storage(Settings(storage="/mnt/shared"), Workspace()) == ("/mnt/shared", None)
    monkeypatch.chdir(tmp_path)
    assert storage.ray_storage(Settings(), Workspace()) == (str(tmp_path / "runs"), None)
    assert storage.ray_storage(Settings(storage="shared"), Workspace()) == (str(tmp_path / "shared"), None)
