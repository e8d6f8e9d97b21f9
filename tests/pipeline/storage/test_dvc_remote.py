"""DVC's remote on a real S3 server: shards that are damaged or missing, and a network that fails."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage import dvc_remote as remote
from pipeline.storage.datasets import dataset_folder
from pipeline.storage.s3 import bucket_of
from pipeline.storage.shard_cache import ShardCache
from rdmc.data.loader import PairStore
from rdmc.errors import DataError, ServiceError
from tests.support.data import toy_project
from tests.support.faults import FAULTS, FaultyProxy
from tests.support.pushed import objects, pairs, same, shard_objects
from tests.support.s3 import S3Server


def test_a_damaged_object_is_named_and_can_be_read_once_it_is_repaired(pushed: Path, settings: Settings, s3: S3Server) -> None:
    item = next(iter(shard_objects(settings, s3, pushed).values()))
    whole = item.get()["Body"].read()
    for damaged, message in {
        whole[:-1] + bytes([whole[-1] ^ 1]): r"sha256 \w+, not what was packed; delete it, then `dvc push`",
        whole[: len(whole) // 2]: "shorter than what was packed; run `dvc push`",
    }.items():
        item.put(Body=damaged)
        with pytest.raises(DataError, match=rf"^light: train-\d+.tar: s3://.*: {message}") as caught:
            pairs(settings, Paths(pushed))
        assert "\n" not in str(caught.value)
        assert not list((pushed / ".cache/shards").glob(".*.part"))
    item.put(Body=whole)
    assert len(pairs(settings, Paths(pushed))) == 5


def test_a_missing_object_is_named_with_the_push_that_fixes_it(pushed: Path, settings: Settings, s3: S3Server) -> None:
    for item in shard_objects(settings, s3, pushed).values():
        item.delete()
    with pytest.raises(
        DataError, match=r"^light: train-\d+\.tar: s3://test-\w+/some/prefix/dvc/.*: no such object; run `dvc push`"
    ):
        pairs(settings, Paths(pushed))
    for item in objects(settings, s3).values():
        item.delete()
    shutil.rmtree(pushed / ".cache")
    with pytest.raises(DataError, match=r"\.dir: no such object; run `dvc push`"):
        dataset_folder(toy_project(settings, Paths(pushed)), "light")


@pytest.mark.parametrize("seed", [0, 1])
def test_reads_survive_errors_in_a_tenth_of_all_responses(
    seed: int, pushed: Path, settings: Settings, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PART", 4_000)
    proxy = FaultyProxy(s3.endpoint, 0.1, seed, (*FAULTS[:2], *FAULTS[3:]) if seed else FAULTS)
    local = PairStore([pushed / "source"], "train")
    bucket = bucket_of(settings)
    assert bucket
    cache = ShardCache(pushed / "cache", 1)
    with proxy.running() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        fetch = remote.BucketShards(remote.Remote(bucket, timeout=3, pause=0.001), cache)
        for _ in range(4):
            folder = dataset_folder(toy_project(settings, Paths(pushed)), "light")
            store = PairStore([folder], "train", cache_mb=0, fetch=fetch)
            assert same([store[i] for i in range(len(store))], [local[i] for i in range(len(local))])
            shutil.rmtree(cache.folder)
    assert len(proxy.met) >= 3
    assert proxy.requests > 10 * len(proxy.met) / 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("5xx", "answers 503 .SlowDown.; try again"),
        ("timeout", "ReadTimeoutError; start the server"),
        ("reset", "Connection.*Error; start the server"),
        ("short", "IncompleteRead|ResponseStreaming|no such|shorter"),
        ("wrong", r"sha256 \w+, not what was packed; delete it, then `dvc push`"),
    ],
)
def test_a_server_that_always_fails_is_one_line(
    fault: str, message: str, pushed: Path, settings: Settings, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dataset_folder(toy_project(settings, Paths(pushed)), "light")
    bucket = bucket_of(settings)
    assert bucket
    monkeypatch.setattr(remote, "TRIES", 3)
    with FaultyProxy(s3.endpoint, 1.0, faults=(fault,)).running() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        cache = ShardCache(pushed / "cache", 1)
        fetch = remote.BucketShards(remote.Remote(bucket, timeout=0.2 if fault == "timeout" else 60, pause=0.001), cache)
        with pytest.raises((DataError, ServiceError), match=message) as caught:
            PairStore([folder], "train", fetch=fetch)[0]
    assert "\n" not in str(caught.value)
    assert [path.name for path in cache.folder.iterdir()] == ["locks"]


def test_a_pickled_fetch_holds_no_credentials(settings: Settings, s3: S3Server, tmp_path: Path) -> None:
    bucket = bucket_of(settings)
    assert bucket
    fetch = remote.BucketShards(remote.Remote(bucket), ShardCache(tmp_path, 1))
    assert fetch.remote.client
    sent = pickle.dumps(fetch)
    assert s3.secret_key.encode() not in sent
    assert s3.access_key.encode() not in sent
    other = pickle.loads(sent)
    assert other.remote.bucket == fetch.remote.bucket
