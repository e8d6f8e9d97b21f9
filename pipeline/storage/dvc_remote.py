"""DVC's remote in the bucket as a store of shards: objects by digest, read in ranges, with retries, and verified."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from random import SystemRandom
from threading import Lock
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError

from pipeline.config.settings import Settings
from pipeline.storage.s3 import CHUNK, Bucket, bucket_of, check_bucket, endpoint, refusals, s3_client
from pipeline.storage.shard_cache import ShardCache
from pipeline.versioning.dvc import run_dvc
from rdmc.data.loader import local_shard
from rdmc.data.shards import Shard
from rdmc.errors import ConfigError, DataError

REMOTE = "storage"
"""Name of the bucket among DVC's remotes."""
PART = 8 << 20
"""Bytes per request."""
TRIES, READS = 7, 6
"""Attempts per request, and reads of a whole object, before giving up. The pauses add up to about six seconds."""


class Remote:
    """Objects of DVC's remote by their md5: read in ranges, retried with growing pauses, and verified."""

    def __init__(self, bucket: Bucket, timeout: float = 30.0, pause: float = 0.1) -> None:
        self.bucket, self.timeout, self.pause = bucket, timeout, pause
        self._client: Any = None
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Remote], tuple[Bucket, float, float]]:
        """Pickle without the client: another process finds credentials in its own environment."""
        return Remote, (self.bucket, self.timeout, self.pause)

    def save(self, file: BinaryIO, md5: str, size: int | None = None, sha256: str = "") -> None:
        """Write an object's bytes to ``file``, verified by the sha256 or, without one, by the md5.

        Wrong bytes are read again. If the same wrong bytes come twice, the object itself is damaged. Raises DataError for an
        object that is missing or damaged, ServiceError for a bucket that fails.
        """
        key = self.bucket.key("dvc/files/md5", md5[:2], md5[2:])
        wrong: set[str] = set()
        digest = ""
        with refusals(self.bucket.url()):
            for _ in range(READS):
                hasher = hashlib.sha256() if sha256 else hashlib.md5(usedforsecurity=False)
                file.seek(0)
                for part in self._parts(key, size):
                    hasher.update(part)
                    file.write(part)
                digest = hasher.hexdigest()
                if digest == (sha256 or md5.removesuffix(".dir")):
                    file.truncate()
                    return
                if digest in wrong:
                    break
                wrong.add(digest)
        rule = "sha256" if sha256 else "md5"
        raise DataError(
            f"s3://{self.bucket.name}/{key}: {rule} {digest}, not what was packed; delete it, then `dvc push` again"
        )

    def load(self, md5: str) -> bytes:
        """A small object's bytes. Raises what ``save`` raises."""
        file = BytesIO()
        self.save(file, md5)
        return file.getvalue()

    def require(self, md5: str) -> None:
        """Raise DataError unless the bucket has an object, ServiceError if the bucket fails."""
        key = self.bucket.key("dvc/files/md5", md5[:2], md5[2:])
        with refusals(self.bucket.url()):
            self._tried(key, lambda: self.client.head_object(Bucket=self.bucket.name, Key=key))

    def _parts(self, key: str, size: int | None) -> Iterator[bytes]:
        """An object in parts of at most ``PART`` bytes, or in one part if its size is unknown."""
        for start in range(0, size, PART) if size is not None else [0]:
            end = None if size is None else min(start + PART, size)
            part = bytearray()  # it grows over several attempts, so no byte is requested twice
            self._tried(key, partial(self._rest, key, start, end, part))
            yield bytes(part)

    def _rest(self, key: str, start: int, end: int | None, part: bytearray) -> None:
        """Append to ``part`` what it lacks of an object's bytes ``start`` to ``end`` - 1, or to its end."""
        if end is not None and len(part) >= end - start:
            return
        asked = f"bytes={start + len(part)}-{'' if end is None else end - 1}"
        body = self.client.get_object(Bucket=self.bucket.name, Key=key, Range=asked)["Body"]
        for chunk in body.iter_chunks(CHUNK):
            part += chunk
        if end is not None and len(part) < end - start:
            raise IncompleteReadError(actual_bytes=len(part), expected_bytes=end - start)

    def _tried(self, key: str, request: Callable[[], None]) -> None:
        """Run ``request``. Retry after growing pauses if the network or the server fails, but not if the server refuses."""
        for number in range(TRIES):
            try:
                request()
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
            time.sleep(
                self.pause * 2**number * SystemRandom().uniform(0.5, 1)
            )  # spreads the retries of processes that failed together

    @property
    def client(self) -> Any:
        """boto3's client, made once. It can be used from several threads."""
        with self._lock:
            if self._client is None:
                self._client = s3_client(
                    connect_timeout=min(3, self.timeout),
                    read_timeout=self.timeout,
                    retries={"total_max_attempts": 1},
                    response_checksum_validation="when_required",  # some servers send the whole object's checksum with a range
                )
            return self._client


@dataclass(frozen=True)
class BucketShards:
    """A ``Fetch`` of shards in DVC's remote. Pickled, it holds neither credentials nor a connection."""

    remote: Remote
    cache: ShardCache

    def __call__(self, folder: Path, shard: Shard) -> Path:
        """The shard's file, verified by its sha256. Raises DataError, ConfigError or ServiceError with one line."""
        local = local_shard(folder, shard)
        if local.is_file():
            return local
        return self.cache.path(shard, lambda file: self.remote.save(file, shard.md5, shard.size, shard.sha256))


def connect(settings: Settings, root: Path) -> None:
    """Make the bucket the default remote of the DVC repository at ``root``, so that plain ``dvc push``/``pull`` use it.

    The address and the endpoint are written to ``.dvc/config.local``, which git ignores. Credentials are not written. Raises
    ConfigError without a bucket, ServiceError if the bucket cannot be used or DVC refuses.
    """
    bucket = bucket_of(settings)
    if not bucket:
        raise ConfigError("RDMC_BUCKET: is not set, so there is no bucket to connect to; set it to s3://bucket/prefix")
    check_bucket(settings)
    run_dvc(root, "remote", "add", "--local", "--default", "--force", REMOTE, bucket.url("dvc"))
    if address := endpoint():
        run_dvc(root, "remote", "modify", "--local", REMOTE, "endpointurl", address)
