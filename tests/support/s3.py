"""A real S3 server for tests: rclone's own, on a free loopback port, with random keys, over a temporary folder."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3

from tests.support.ports import free_port
from tests.support.waiting import until

START_SECONDS = 120


@dataclass(frozen=True)
class S3Server:
    """A running server and its keys."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which boto3, s3fs and DVC reach the server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self, name: str) -> Any:
        """boto3's resource of a bucket, which is created if it does not exist."""
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        bucket = boto3.Session().resource("s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys).Bucket(name)
        if not bucket.creation_date:
            bucket.create()
        return bucket


@contextmanager
def s3_server(folder: Path, before: S3Server | None = None) -> Iterator[S3Server]:
    """Serve ``folder``. The server is ready when this yields, and is stopped afterwards by its process id.

    ``before``: a server of the same folder that was stopped; this one gets its address and keys.
    """
    buckets = folder / "buckets"
    buckets.mkdir(parents=True, exist_ok=True)
    access, secret = (before.access_key, before.secret_key) if before else (secrets.token_hex(8), secrets.token_hex(16))
    address = urlsplit(before.endpoint).netloc if before else f"127.0.0.1:{free_port()}"  # stays free while it is stopped
    log = folder / "rclone.log"
    rclone = str(Path(sysconfig.get_path("scripts")) / "rclone")
    command = [rclone, "serve", "s3", "--addr", address, "--config", "", str(buckets)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "RCLONE_AUTH_KEY": f'"{access},{secret}"'}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield S3Server(_address(process, log), access, secret)
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the server logs once it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"on \[(http://127\.0\.0\.1:\d+)/\]", log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"rclone serve s3 is not up after {START_SECONDS} s: {log.read_text()}")


class Host:
    """An S3 server that a test stops and starts; it keeps its address, keys and buckets."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stack = folder, ExitStack()
        self.server: S3Server = self.stack.enter_context(s3_server(folder))

    def stop(self) -> None:
        """End the server's process."""
        self.stack.close()

    def start(self) -> None:
        """Start it again."""
        self.stack.enter_context(s3_server(self.folder, self.server))

    @contextmanager
    def gone(self, seconds: float = 0.0, met: Callable[[], object] = lambda: True) -> Iterator[None]:
        """Stop the server now, and start it after so many seconds, once a condition holds too, while the block runs."""

        def come_back() -> None:
            time.sleep(seconds)
            try:
                until(met)
            finally:
                self.start()

        self.stop()
        coming = threading.Thread(target=come_back)
        coming.start()
        try:
            yield
        finally:
            coming.join()
