"""The bucket and access to it: its name, boto3's client, the bytes of an object, and errors of S3 as one line.

``RDMC_BUCKET=s3://bucket/prefix`` names it. boto3 takes credentials and endpoint from its own environment; credentials are
never read, stored or written here. Under the prefix are ``dvc/`` (content-addressed: ``files/md5/ab/cdef…``), ``ray/``,
``results/`` and ``mlflow/``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError, ProfileNotFound

from pipeline.config.settings import Settings
from rdmc.errors import ConfigError, DataError, ServiceError, one_line

TIMEOUTS = {"connect_timeout": 3, "read_timeout": 30, "retries": {"max_attempts": 2}}
CHUNK = 1 << 20
"""Bytes per read."""


@dataclass(frozen=True)
class Bucket:
    """A bucket's name and the prefix inside it, without slashes at either end."""

    name: str
    prefix: str

    def key(self, *parts: str) -> str:
        """The key of an object under the prefix."""
        return "/".join(part for part in (self.prefix, *parts) if part)

    def url(self, *parts: str) -> str:
        """``s3://bucket/prefix/…``."""
        return f"s3://{self.name}/{self.key(*parts)}".rstrip("/")


def bucket_of(settings: Settings) -> Bucket | None:
    """The bucket of the settings, or None if none is set. Raises ConfigError for an address without a bucket name."""
    if not settings.bucket:
        return None
    parts = urlsplit(settings.bucket)
    if not parts.netloc:
        raise ConfigError(f"RDMC_BUCKET: {settings.bucket!r}: names no bucket; set it to s3://bucket/prefix or unset it")
    return Bucket(parts.netloc, parts.path.strip("/"))


def endpoint() -> str:
    """The S3 server's address, empty for AWS. Raises ConfigError if it holds a password, because it is written to files."""
    name = "AWS_ENDPOINT_URL_S3" if os.environ.get("AWS_ENDPOINT_URL_S3") else "AWS_ENDPOINT_URL"
    address = os.environ.get(name, "")
    if "@" in address:
        raise ConfigError(f"{name}: has a user or password before an @, the rule is http(s)://host:port; set AWS_PROFILE")
    return address


def s3_client(**options: Any) -> Any:
    """A boto3 client for the environment's S3. ``options`` go to its Config and replace ``TIMEOUTS``."""
    try:
        return boto3.Session().client("s3", config=Config(**(options or TIMEOUTS)))
    except ValueError as error:
        raise ServiceError(f"AWS_ENDPOINT_URL: {error}; set it to http(s)://host:port") from None


@contextmanager
def refusals(url: str) -> Iterator[None]:
    """Turn errors of boto3 into one line that names the bucket, the endpoint and the remedy, and never a credential."""
    host = urlsplit(endpoint()).netloc or "AWS"
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise ServiceError(f"{url}: no credentials ({type(error).__name__}); set {keys}") from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 404:
            raise ServiceError(f"{url}: no such bucket at {host}; create it there or fix RDMC_BUCKET") from None
        if status in (400, 401, 403):
            raise ServiceError(
                f"{url}: {host} refuses these credentials ({code}); fix AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from None
        raise ServiceError(f"{url}: {host} answers {status} ({code}); try again or read the server's log") from None
    except (BotoCoreError, Boto3Error) as error:
        raise ServiceError(f"{url}: {host}: {type(error).__name__}; start the server or fix AWS_ENDPOINT_URL") from None


def check_bucket(settings: Settings) -> None:
    """Raise ServiceError with one line unless the bucket exists and accepts this environment's credentials. Creates nothing."""
    bucket = bucket_of(settings)
    if bucket:
        with refusals(bucket.url()):
            s3_client().head_bucket(Bucket=bucket.name)


def open_object(url: str, start: int, tag: str) -> tuple[Iterator[bytes], int, str]:
    """The bytes of ``s3://bucket/key`` from ``start`` on if its tag is still ``tag``, otherwise from 0.

    Returns the chunks, the position of the first byte and the tag. Raises DataError if there is no such object, ServiceError
    if the server cannot be used.
    """
    parts = urlsplit(url)
    key = parts.path.lstrip("/")
    with refusals(url):
        client = s3_client()
        try:
            head = client.head_object(Bucket=parts.netloc, Key=key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey"):
                raise DataError(f"{url}: no such object; fix the address") from None
            raise
        current = str(head["ETag"])
        start = start if current == tag and start <= head["ContentLength"] else 0
        body = (
            client.get_object(Bucket=parts.netloc, Key=key, Range=f"bytes={start}-")["Body"]
            if start < head["ContentLength"]
            else None
        )
    return _chunks(body) if body else iter(()), start, current


def _chunks(body: Any) -> Iterator[bytes]:
    """The chunks of an object. Raises ConnectionError if the connection breaks."""
    try:
        yield from body.iter_chunks(CHUNK)
    except BotoCoreError as error:
        raise ConnectionError(one_line(error)) from None
