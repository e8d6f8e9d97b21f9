"""The bucket: DVC's remote, Ray's checkpoints and, by the same variables, MLflow's artifacts. The only home of boto3 and s3fs.

``RDMC_BUCKET=s3://bucket/prefix`` names it; credentials and endpoint are those of boto3's own environment and are never
read, held or written here. Under the prefix lie ``dvc/`` (content-addressed: ``files/md5/ab/cdef…``), ``ray/`` and
``mlflow/``. Without a bucket everything stays on local disk and nothing here reaches out.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import boto3
import pyarrow.fs
import s3fs
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError, ProfileNotFound
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.settings import Settings
from pipeline.workspace import Workspace
from rdmc.errors import ConfigError, DataError, ServiceError

REMOTE = "storage"
TIMEOUTS = {"connect_timeout": 3, "read_timeout": 30, "retries": {"max_attempts": 2}}
DOWNLOADS = 4
CHUNK = 1 << 20


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
    """The folder of a dataset's shards: ``data/shards/<dataset>``, or a cached copy of what dvc.lock names in the bucket.

    Objects are read from DVC's remote by their md5, verified on arrival and only then given their name, so whatever lies
    in the cache (``.cache/shards/<md5>``) is whole and is not read again. Processes on one machine download once.

    Raises:
        DataError: no shards and no bucket, or an object that is missing or damaged.
        ServiceError: the bucket cannot be reached.
    """
    local = workspace.shards(dataset)
    if (local / "manifest.json").is_file():
        return local
    bucket = bucket_of(settings)
    if not bucket:
        raise DataError(f"{local}: no manifest.json; run `dvc repro pack`, or `dvc pull`, or set RDMC_BUCKET to where they are")
    folder_md5 = _recorded_md5(workspace, dataset)
    folder = workspace.root / ".cache/shards" / folder_md5.removesuffix(".dir")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), refusals(bucket.url()):
        _download_folder(_client(), bucket, folder_md5, folder)
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


def _download_folder(client: Any, bucket: Bucket, folder_md5: str, folder: Path) -> None:
    """The files of one of DVC's folder listings (a JSON list of relpath and md5) into ``folder``, those absent only."""
    listing = folder / ".listing"
    _download(client, bucket, folder_md5, listing)
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{bucket.url('dvc')}: {folder_md5} lists {name!r}, outside its folder; `dvc push` it anew")
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        for done in [pool.submit(_download, client, bucket, md5, folder / name) for name, md5 in files.items()]:
            done.result()


def _download(client: Any, bucket: Bucket, md5: str, target: Path) -> None:
    """One object of DVC's remote to ``target``, under a temporary name until its md5 is right. Present: nothing to do."""
    if target.is_file():
        return
    key = bucket.key("dvc/files/md5", md5[:2], md5[2:])
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        body = client.get_object(Bucket=bucket.name, Key=key)["Body"]
    except client.exceptions.NoSuchKey:
        raise DataError(f"s3://{bucket.name}/{key}: no such object; run `dvc push` where the shards are") from None
    with part.open("wb") as file:
        for chunk in body.iter_chunks(CHUNK):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != md5.removesuffix(".dir"):
        part.unlink()
        raise DataError(f"s3://{bucket.name}/{key}: md5 {digest.hexdigest()}, not its name; delete it, then `dvc push` again")
    part.rename(target)


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


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of this machine at a time; the lock ends with the process that holds it."""
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _endpoint() -> str:
    """The S3 server's address, empty for AWS itself. Raises ConfigError where it holds a password: it is written to files."""
    name = "AWS_ENDPOINT_URL_S3" if os.environ.get("AWS_ENDPOINT_URL_S3") else "AWS_ENDPOINT_URL"
    address = os.environ.get(name, "")
    if "@" in address:
        raise ConfigError(f"{name}: has a user or password before an @, the rule is http(s)://host:port; set AWS_PROFILE")
    return address


def _client() -> Any:
    try:
        return boto3.Session().client("s3", config=Config(**TIMEOUTS))
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
