"""An HTTP proxy that spoils a share of the responses, as networks and servers do, for tests of code that reads from S3."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np

FAULTS = ("5xx", "429", "timeout", "short", "wrong", "reset")


class FaultyProxy:
    """Forwards requests to ``endpoint``. A ``share`` of those for objects, drawn with a seed, gets one of ``faults``."""

    def __init__(self, endpoint: str, share: float, seed: int = 0, faults: tuple[str, ...] = FAULTS) -> None:
        self.backend, self.share, self.faults = urlsplit(endpoint).netloc, share, faults
        self.met: list[str] = []
        self.requests = 0
        self.ended = threading.Event()
        self._rng, self._lock = np.random.default_rng(seed), threading.Lock()

    def draw(self, path: str) -> str:
        """The fault of a request; empty for none."""
        with self._lock:
            self.requests += 1
            if "/files/md5/" not in path or self._rng.random() >= self.share:
                return ""
            self.met.append(str(self._rng.choice(self.faults)))
            return self.met[-1]

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free loopback port. Yields the address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            self.ended.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Handles one connection. Each proxy makes a subclass that sets ``proxy``."""

    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def do_GET(self) -> None:
        fault = self.proxy.draw(self.path)
        if fault in ("5xx", "429"):
            self._answer(503 if fault == "5xx" else 429, {}, b"<Error><Code>SlowDown</Code></Error>")
        elif fault == "timeout":
            self.proxy.ended.wait(60)  # longer than the client waits
            self.close_connection = True
        elif fault == "reset":
            self.connection.close()
            self.close_connection = True
        else:
            self._forward(fault)

    def _forward(self, fault: str) -> None:
        connection = http.client.HTTPConnection(self.proxy.backend, timeout=120)
        connection.putrequest("GET", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # with the host that the client signed
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in ("content-length", "connection")}
        if fault == "wrong" and body:
            middle = int(self.proxy._rng.integers(len(body)))
            body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
        self._answer(answer.status, kept, body, cut=fault == "short")

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""
