"""The bucket: DVC's remote, Ray's checkpoints and, by the same variables, MLflow's artifacts. The only home of boto3 and s3fs.

``RDMC_BUCKET=s3://bucket/prefix`` names it; credentials and endpoint are those of boto3's own environment and are never
read, held or written here. Under the prefix lie ``dvc/`` (content-addressed: ``files/md5/ab/cdef…``), ``ray/`` and
``mlflow/``. Without a bucket everything stays on local disk and nothing here reaches out.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import boto3
import pyarrow.fs
import s3fs
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.settings import Settings
from pipeline.shard_cache import ShardCache
from pipeline.workspace import Workspace
from rdmc.data.loader import Fetch, local_shard
from rdmc.data.shards import MANIFEST, Shard
from rdmc.errors import ConfigError, DataError, ServiceError
from rdmc.files import write_bytes

REMOTE = "storage"
TIMEOUTS = {"connect_timeout": 3, "read_timeout": 30, "retries": {"max_attempts": 2}}
PART = 8 << 20
"""Bytes of a request."""
CHUNK = 1 << 20
TRIES, READS = 7, 6
"""How often a request is tried, and a whole object read, before it is given up: the pauses last some six seconds in all."""


@dataclass(frozen=True)
class Bucket:
    """A bucket's name and the prefix inside it, without slashes at the ends."""

    name: str
    prefix: str

    def key(self, *parts: str) -> str:
        """The key of an object under the prefix."""
        return "/".join(part for part in (self.prefix, *parts) if part)

    def url(self, *parts: str) -> str:
        """``s3://bucket/prefix/…``."""
        return f"s3://{self.name}/{self.key(*parts)}".rstrip("/")


def bucket_of(settings: Settings) -> Bucket | None:
    """The bucket of the settings, None without one. Raises ConfigError for an address without a bucket's name."""
    if not settings.bucket:
        return None
    parts = urlsplit(settings.bucket)
    if not parts.netloc:
        raise ConfigError(f"RDMC_BUCKET: {settings.bucket!r}: names no bucket; set it to s3://bucket/prefix or unset it")
    return Bucket(parts.netloc, parts.path.strip("/"))


def check_bucket(settings: Settings) -> None:
    """See that the bucket is there and lets this environment in; makes nothing. Raises ServiceError, one line."""
    bucket = bucket_of(settings)
    if bucket:
        with refusals(bucket.url()):
            _client().head_bucket(Bucket=bucket.name)


def connect(settings: Settings, root: Path) -> None:
    """Make the bucket the default remote of the DVC repository at ``root``, so that plain ``dvc push``/``pull`` use it.

    It is written to ``.dvc/config.local``, which git ignores: address and endpoint, no credentials. Raises ConfigError
    without a bucket, ServiceError where it cannot be used or DVC refuses.
    """
    bucket = bucket_of(settings)
    if not bucket:
        raise ConfigError("RDMC_BUCKET: is not set, there is no bucket to connect to; set it to s3://bucket/prefix")
    check_bucket(settings)
    _dvc(root, "remote", "add", "--local", "--default", "--force", REMOTE, bucket.url("dvc"))
    if endpoint := _endpoint():
        _dvc(root, "remote", "modify", "--local", REMOTE, "endpointurl", endpoint)


def ray_storage(settings: Settings, workspace: Workspace) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """``storage_path`` and ``storage_filesystem`` of Ray's RunConfig: a folder that all workers can write, or the bucket.

    The filesystem is pickled to the workers without credentials; each process finds them in its own environment.
    pyarrow's own S3 client is not used: it writes empty objects for folders, which not every S3 server takes.
    """
    if settings.storage:
        return str(Path(settings.storage).absolute()), None
    bucket = bucket_of(settings)
    if not bucket:
        return str(workspace.runs.absolute()), None
    files = s3fs.S3FileSystem(
        endpoint_url=_endpoint() or None,
        config_kwargs=TIMEOUTS,
        use_listings_cache=False,  # other processes write here too
    )
    return f"{bucket.name}/{bucket.key('ray')}", pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files))


def fetch_dataset(settings: Settings, workspace: Workspace, dataset: str) -> Path:
    """The folder of a dataset's manifest: ``data/shards/<dataset>``, or one with what dvc.lock names in the bucket.

    The shards of the latter stay in the bucket until ``shard_fetch`` is asked for one. The manifest is read from DVC's remote
    by its md5, verified, and kept in ``.cache/manifests``.

    Raises:
        DataError: no shards and no bucket, or an object that is missing or damaged.
        ServiceError: the bucket cannot be reached.
    """
    local = workspace.shards(dataset)
    if (local / MANIFEST).is_file():
        return local
    bucket = bucket_of(settings)
    if not bucket:
        raise DataError(f"{local}: no manifest.json; run `dvc repro pack`, or `dvc pull`, or set RDMC_BUCKET to where they are")
    listed = _recorded_md5(workspace, dataset)
    folder = workspace.root / ".cache/manifests" / listed.removesuffix(".dir")
    if not (folder / MANIFEST).is_file():
        remote = Remote(bucket)
        files = {entry["relpath"]: entry["md5"] for entry in json.loads(remote.load(listed))}
        if MANIFEST not in files:
            raise DataError(f"{bucket.url('dvc')}: {listed} lists no {MANIFEST}; `dvc push` it anew where the shards are")
        write_bytes(folder / MANIFEST, remote.load(files[MANIFEST]))
    return folder


def open_object(url: str, start: int, tag: str) -> tuple[Iterator[bytes], int, str]:
    """The bytes of ``s3://bucket/key`` from ``start`` on, where its tag is still ``tag``; else all, from 0.

    Returns the chunks, the place of the first byte and the tag. Raises DataError where there is no such object,
    ServiceError where the store cannot be used.
    """
    parts = urlsplit(url)
    key = parts.path.lstrip("/")
    with refusals(url):
        client = _client()
        try:
            head = client.head_object(Bucket=parts.netloc, Key=key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey"):
                raise DataError(f"{url}: no such object; mend the address") from None
            raise
        found = str(head["ETag"])
        start = start if found == tag and start < head["ContentLength"] else 0
        body = (
            client.get_object(Bucket=parts.netloc, Key=key, Range=f"bytes={start}-")["Body"] if head["ContentLength"] else None
        )
    return _chunks(body) if body else iter(()), start, found


def _chunks(body: Any) -> Iterator[bytes]:
    """The pieces of an object. Raises ConnectionError where the store breaks off."""
    try:
        yield from body.iter_chunks(CHUNK)
    except BotoCoreError as error:
        raise ConnectionError(" ".join(str(error).split())) from None


def dvc_add(root: Path, path: Path) -> None:
    """Put ``path`` under DVC in the repository at ``root``. Raises ServiceError with what DVC says."""
    _dvc(root, "add", str(path))


def shard_fetch(settings: Settings, workspace: Workspace) -> Fetch:
    """Finds shards for a ``PairStore``: those beside their manifest, others in the bucket, through the node's cache."""
    bucket = bucket_of(settings)
    if not bucket:
        return local_shard
    folder = Path(settings.shard_cache) if settings.shard_cache else workspace.root / ".cache/shards"
    return BucketShards(Remote(bucket), ShardCache(folder.absolute(), settings.shard_cache_mb))


@dataclass(frozen=True)
class BucketShards:
    """A ``Fetch`` of shards in DVC's remote; another process gets it without credentials or connection."""

    remote: Remote
    cache: ShardCache

    def __call__(self, folder: Path, shard: Shard) -> Path:
        """The shard's file, verified by its sha256. Raises DataError, ConfigError or ServiceError, one line."""
        local = local_shard(folder, shard)
        if local.is_file():
            return local
        return self.cache.path(shard, lambda file: self.remote.save(file, shard.md5, shard.size, shard.sha256))


class Remote:
    """Objects of DVC's remote by their md5: read in ranges, tried again with growing pauses, and verified."""

    def __init__(self, bucket: Bucket, timeout: float = 30.0, pause: float = 0.1) -> None:
        self.bucket, self.timeout, self.pause = bucket, timeout, pause
        self._client: Any = None
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: it finds credentials in its own environment."""
        return {"bucket": self.bucket, "timeout": self.timeout, "pause": self.pause}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def save(self, file: BinaryIO, md5: str, size: int | None = None, sha256: str = "") -> None:
        """Write an object's bytes, of which the sha256, or without one the md5, is right.

        Wrong bytes are read anew; twice the same wrong ones are the object's own fault. Raises DataError for an object that
        is missing or damaged, ServiceError for a bucket that fails.
        """
        key = self.bucket.key("dvc/files/md5", md5[:2], md5[2:])
        wrong: set[str] = set()
        found = ""
        with refusals(self.bucket.url()):
            for _ in range(READS):
                digest = hashlib.sha256() if sha256 else hashlib.md5(usedforsecurity=False)
                file.seek(0)
                for part in self._parts(key, size):
                    digest.update(part)
                    file.write(part)
                found = digest.hexdigest()
                if found == (sha256 or md5.removesuffix(".dir")):
                    file.truncate()
                    return
                if found in wrong:
                    break
                wrong.add(found)
        rule = "sha256" if sha256 else "md5"
        raise DataError(f"s3://{self.bucket.name}/{key}: {rule} {found}, not what was packed; delete it, then `dvc push` again")

    def load(self, md5: str) -> bytes:
        """A small object's bytes, as ``save`` finds them."""
        file = BytesIO()
        self.save(file, md5)
        return file.getvalue()

    def _parts(self, key: str, size: int | None) -> Iterator[bytes]:
        """An object in parts of at most ``PART`` bytes, or, of unknown size, in one."""
        for start in range(0, size, PART) if size is not None else [0]:
            end = None if size is None else min(start + PART, size)
            part = bytearray()  # grows over several tries: what has arrived is not asked for again
            self._tried(key, partial(self._rest, key, start, end, part))
            yield bytes(part)

    def _rest(self, key: str, start: int, end: int | None, part: bytearray) -> None:
        """Read what ``part`` lacks of an object's bytes ``start`` to ``end`` - 1, or to its end."""
        if end is not None and len(part) >= end - start:
            return
        asked = f"bytes={start + len(part)}-{'' if end is None else end - 1}"
        body = self.client.get_object(Bucket=self.bucket.name, Key=key, Range=asked)["Body"]
        for chunk in body.iter_chunks(CHUNK):
            part += chunk
        if end is not None and len(part) < end - start:
            raise IncompleteReadError(actual_bytes=len(part), expected_bytes=end - start)

    def _tried(self, key: str, act: Callable[[], None]) -> None:
        """``act``, again after a growing pause where the network or the server fails; not where it refuses."""
        for number in range(TRIES):
            try:
                act()
                return
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
                if status in (404, 416) and code != "NoSuchBucket":
                    what = "no such object" if status == 404 else "shorter than what was packed"
                    raise DataError(f"s3://{self.bucket.name}/{key}: {what}; run `dvc push` where the shards are") from None
                if number == TRIES - 1 or (status < 500 and status not in (408, 429)):
                    raise
            except (BotoCoreError, OSError):
                if number == TRIES - 1:
                    raise
            time.sleep(self.pause * 2**number * random.uniform(0.5, 1))  # noqa: S311  spreads those that failed together

    @property
    def client(self) -> Any:
        """boto3's, made once; it is safe to use from several threads."""
        with self._lock:
            if self._client is None:
                self._client = _client(
                    connect_timeout=min(3, self.timeout),
                    read_timeout=self.timeout,
                    retries={"total_max_attempts": 1},
                    response_checksum_validation="when_required",  # some servers send a range with the whole object's checksum
                )
            return self._client


def _recorded_md5(workspace: Workspace, dataset: str) -> str:
    """The md5 (``….dir``) that dvc.lock records for a dataset's shards, of the workspace or of the code's own folder."""
    path = Workspace().shards(dataset).as_posix()
    for lock in (workspace.root / "dvc.lock", Path("dvc.lock")):
        try:
            recorded = (lock.is_file() and YAML(typ="safe", pure=True).load(lock)) or {}
            stages = recorded.get("stages", {}).values()
            found = {out["path"]: str(out["md5"]) for stage in stages for out in stage.get("outs", ()) if "md5" in out}
        except (OSError, UnicodeDecodeError, YAMLError, LookupError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())
            raise DataError(f"{lock}: not what DVC writes ({why}); run `git checkout dvc.lock` or `dvc repro`") from None
        if path in found:
            return found[path]
    raise DataError(f"{path}: neither on disk nor in dvc.lock; run `dvc repro pack` and `dvc push` once where the pairs are")


def _endpoint() -> str:
    """The S3 server's address, empty for AWS itself. Raises ConfigError where it holds a password: it is written to files."""
    name = "AWS_ENDPOINT_URL_S3" if os.environ.get("AWS_ENDPOINT_URL_S3") else "AWS_ENDPOINT_URL"
    address = os.environ.get(name, "")
    if "@" in address:
        raise ConfigError(f"{name}: has a user or password before an @, the rule is http(s)://host:port; set AWS_PROFILE")
    return address


def _client(**options: Any) -> Any:
    try:
        return boto3.Session().client("s3", config=Config(**(options or TIMEOUTS)))
    except ValueError as error:
        raise ServiceError(f"AWS_ENDPOINT_URL: {error}; set it to http(s)://host:port") from None


@contextmanager
def refusals(url: str) -> Iterator[None]:
    """Turn what boto3 raises into one line that names the bucket, the endpoint and the cure, and never a credential."""
    host = urlsplit(_endpoint()).netloc or "AWS"
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise ServiceError(f"{url}: no credentials ({type(error).__name__}); set {keys}") from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 404:
            raise ServiceError(f"{url}: no such bucket at {host}; make it there or mend RDMC_BUCKET") from None
        if status in (400, 401, 403):
            raise ServiceError(
                f"{url}: {host} refuses these credentials ({code}); mend AWS_ACCESS_KEY_ID and its secret"
            ) from None
        raise ServiceError(f"{url}: {host} answers {status} ({code}); try again or read its log") from None
    except (BotoCoreError, Boto3Error) as error:
        raise ServiceError(f"{url}: {host}: {type(error).__name__}; start the store or mend AWS_ENDPOINT_URL") from None


def _dvc(root: Path, *arguments: str) -> None:
    """Run one of DVC's commands in ``root``. Raises ServiceError with the last line that it says."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or "no word").splitlines()[0]
        raise ServiceError(f"dvc {' '.join(arguments[:2])}: {said}; run it in a folder made by `dvc init`")
