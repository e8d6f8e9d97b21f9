"""Requests to a real local server that redirects, breaks off, or echoes the headers."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from rdmc.web import RefusedError, open_url, pieces

BODY = b"rain" * 1000


class Server(BaseHTTPRequestHandler):
    """``/to/URL`` redirects to URL; ``/half`` breaks off; ``/asked`` returns the headers; ``/none`` is missing."""

    def do_GET(self) -> None:
        to = self.path.removeprefix("/to/") if self.path.startswith("/to/") else ""
        body = str(self.headers).encode() if self.path == "/asked" else BODY
        self.send_response(302 if to else 404 if self.path == "/none" else 200)
        if to:
            self.send_header("Location", to)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/half" else body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def read(url: str, **options: Any) -> bytes:
    return b"".join(pieces(open_url(url, ("http",), **options)))


def test_the_body_is_complete_also_after_a_redirect(server: str) -> None:
    assert read(f"{server}/x") == BODY
    assert read(f"{server}/to/{server}/x") == BODY
    assert b"Range: bytes=7-" in read(f"{server}/asked", headers={"Range": "bytes=7-"})


def test_a_body_that_breaks_off_is_an_error(server: str) -> None:
    with pytest.raises(IncompleteRead):
        read(f"{server}/half")


@pytest.mark.parametrize("elsewhere", ["https://127.0.0.1:1/x", "ftp://127.0.0.1:1/x"])
def test_a_redirect_to_another_scheme_is_refused(server: str, elsewhere: str) -> None:
    with pytest.raises(RefusedError, match=f"leads to {elsewhere}, which is not http"):
        read(f"{server}/to/{elsewhere}")


def test_a_file_of_this_machine_is_not_read(server: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(RefusedError):
        read((tmp_path / "secret").as_uri())
    with pytest.raises(RefusedError):
        read("data:,secret")
    with pytest.raises(HTTPError, match="not allowed"):
        read(f"{server}/to/{(tmp_path / 'secret').as_uri()}")
    with pytest.raises(RefusedError, match=rf"leads to {server}/x, which is not https"):
        open_url(f"{server}/x")


def test_errors_are_those_of_urllib(server: str) -> None:
    with pytest.raises(HTTPError, match="404"):
        read(f"{server}/none")
    with pytest.raises(URLError, match="refused"):
        read("http://127.0.0.1:1/x")
    with pytest.raises(ValueError, match="unknown url type"):
        read("no address")
