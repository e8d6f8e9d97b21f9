"""Downloads from a real server that breaks the connection, ignores ranges, or changes the file meanwhile."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.data import downloads
from pipeline.data.downloads import download
from rdmc.errors import ConfigError, DataError, ServiceError
from tests.support.s3 import s3_server

DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``data``. The first ``breaks`` responses end in the middle."""

    data, tag, breaks, ranges = DATA, '"1"', 0, True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range", "")
        server.asked.append(asked)
        if self.path != "/x.zip":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0) if server.ranges else 0
        if self.headers.get("If-Range", server.tag) != server.tag:
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.data) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        body = server.data[start:]
        if server.breaks:
            server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(**fields: object) -> Iterator[tuple[Server, str]]:
    server = Server()
    for name, value in fields.items():
        setattr(server, name, value)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/x.zip"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_file_is_downloaded_completely_and_once(tmp_path: Path) -> None:
    with serving() as (server, url):
        path = download(url, tmp_path, SHA.upper())
        assert (path.name, path.read_bytes()) == ("x.zip", DATA)
        assert download(url, tmp_path, SHA) == path
        assert server.asked == [""]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_resumes(ranges: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(breaks=3, ranges=ranges) as (server, url):
        assert download(url, tmp_path, SHA).read_bytes() == DATA
        assert len(server.asked) == 4
        assert server.asked[1] == f"bytes={len(DATA) // 2}-"
    assert "; resuming" in capsys.readouterr().out


def test_the_same_command_resumes_a_download_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    with serving(breaks=1) as (server, url):
        with pytest.raises(ServiceError, match="the connection broke 1 times .* run the same command again to resume"):
            download(url, tmp_path, SHA)
        assert download(url, tmp_path, SHA).read_bytes() == DATA
        assert server.asked[1].startswith("bytes=")


def test_a_file_that_changed_meanwhile_is_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    with serving(breaks=1) as (server, url):
        with pytest.raises(ServiceError):
            download(url, tmp_path, SHA)
        server.data, server.tag = DATA[::-1], '"2"'
        assert download(url, tmp_path, hashlib.sha256(DATA[::-1]).hexdigest()).read_bytes() == DATA[::-1]


def test_a_file_with_a_wrong_digest_is_refused_and_removed(tmp_path: Path) -> None:
    with serving() as (_, url), pytest.raises(DataError, match=rf"sha256 {SHA}, the rule is {'0' * 64}; it was removed"):
        download(url, tmp_path, "0" * 64)
    assert not list(tmp_path.rglob("x.zip"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x.zip", "the rule is https://"),
        ("file:///etc/passwd", "the rule is https://"),
        ("https://user:secret@host/x.zip", "without a password"),
        ("http://host/x.zip", "give --sha256, or use https://"),
    ],
)
def test_an_unsafe_address_is_refused(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        download(url, tmp_path, "")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with serving() as (_, url), pytest.raises(DataError, match="404 Not Found; download it with a browser"):
        download(url.replace("x.zip", "y.zip"), tmp_path, SHA)


def test_a_file_is_asked_for_again_by_its_tag(tmp_path: Path) -> None:
    """The old file stands for the address only while the server says so: here it has another one with another tag."""
    with serving() as (server, url):
        assert download(url, tmp_path, SHA).read_bytes() == DATA
        other = DATA[::-1] + b"longer"
        server.data, server.tag = other, '"2"'
        path = download(url, tmp_path, hashlib.sha256(other).hexdigest())
        assert path.read_bytes() == other
        server.data, server.tag = DATA, ""  # a server without tags: nothing tells whether the file is the same
        assert download(url, tmp_path, SHA).read_bytes() == DATA
        server.data = other
        assert download(url, tmp_path, hashlib.sha256(other).hexdigest()).read_bytes() == other
        assert server.asked[-1] == ""


@pytest.mark.parametrize("earlier", [False, True])
def test_a_dead_server_is_one_line(earlier: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as (_, url):
        if earlier:
            download(url, tmp_path, SHA)
    capsys.readouterr()
    with pytest.raises(ServiceError, match=r"x\.zip: cannot be reached \(.*refused.*\); check the address, then run") as caught:
        download(url, tmp_path, "0" * 64)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_an_object_of_a_bucket_is_downloaded_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.bucket("raw").put_object(Key="sets/x.zip", Body=DATA)
        url = "s3://raw/sets/x.zip"
        path = download(url, tmp_path / "cache", SHA)
        assert path.read_bytes() == DATA
        path.rename(path.with_name(".part"))
        with path.with_name(".part").open("r+b") as file:
            file.truncate(1000)
        assert download(url, tmp_path / "cache", "").read_bytes() == DATA
        with pytest.raises(DataError, match=r"s3://raw/none\.zip: no such object"):
            download("s3://raw/none.zip", tmp_path / "cache", "")
