"""A real server on the loopback interface: ``python -m pipeline serve`` as a user starts it, and requests to it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image

from tests.support.imports import ROOT
from tests.support.ports import free_port
from tests.support.processes import descendants, named

START_SECONDS = 300
"""Starting Ray takes long on a busy machine."""


@dataclass(frozen=True)
class Server:
    """A running server: its address and its process."""

    url: str
    process: subprocess.Popen[bytes]

    def replicas(self) -> list[psutil.Process]:
        """The processes that derain."""
        return descendants(self.process.pid, lambda one: any("ServeReplica:rdmc:Derainer" in word for word in one.cmdline()))

    def raylet(self) -> psutil.Process:
        """Ray's process of this node."""
        (found,) = descendants(self.process.pid, named("raylet"))
        return found

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "image/png", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request. Returns the status, the headers by lower-case name, and the body."""
        connection = http.client.HTTPConnection(str(urlsplit(self.url).hostname), urlsplit(self.url).port, timeout=300)
        try:
            sent = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
            connection.request(method, path, body, sent if body is not None or headers else {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


def png(seed: int, height: int = 40, width: int = 56) -> bytes:
    """A PNG file with random pixels of ``seed``."""
    return encoded(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8), "PNG")


def encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    """``pixels`` as an image file in one of Pillow's formats."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@contextmanager
def server(folder: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """Run a server until the block ends."""
    port = free_port()
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_raylet_start_wait_time_s": "240", **environment}
    command = [sys.executable, "-m", "pipeline", "serve", "--port", str(port), *arguments]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT)
    try:
        found = Server(f"http://127.0.0.1:{port}", process)
        _await(found, folder / "server.log")
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _await(found: Server, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while found.process.poll() is None and time.monotonic() < end:
        try:
            if found.ask("GET", "/healthz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the server did not start: {log.read_text()}")
