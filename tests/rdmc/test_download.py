"""Downloads from a real local server: cached, fetched once, refused if the digest differs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from rdmc.download import Opener, cache_folder, download
from rdmc.errors import CheckpointError, ServiceError
from rdmc.web import open_url

CONTENT = bytes(range(256)) * 4096 * 3
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT, or its first half as if it were complete, and records the requests."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/half" else CONTENT)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Counting", (Server,), {"asked": asked})) as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}", asked
        serving.shutdown()
        thread.join()


plain = partial(open_url, schemes=("http",))
fetch = partial(download, most=len(CONTENT), suffix=".bin", opener=plain)


def test_a_file_is_fetched_once_and_cached(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = server
    folder = tmp_path / "deep/cache"
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: fetch(f"{url}/whole", SHA256, folder), range(4)))
    assert found == {folder / f"{SHA256}.bin"}
    assert found.pop().read_bytes() == CONTENT
    assert asked == ["/whole"]


def test_damaged_copy_is_fetched_again(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = server
    fetch(f"{url}/whole", SHA256, tmp_path).write_bytes(b"damaged")
    assert fetch(f"{url}/whole", SHA256, tmp_path).read_bytes() == CONTENT
    assert len(asked) == 2


def test_another_file_is_refused_and_not_cached(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, _ = server
    with pytest.raises(CheckpointError, match=f"its SHA-256 is {SHA256}, not 0000") as error:
        fetch(f"{url}/whole", "0" * 64, tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=f"more than {len(CONTENT) - 1} bytes"):
        download(f"{url}/whole", SHA256, tmp_path, len(CONTENT) - 1, opener=plain)
    with pytest.raises((CheckpointError, ServiceError)):
        fetch(f"{url}/half", SHA256, tmp_path)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_failed_download_gives_a_one_line_error(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, _ = server
    attempts: list[tuple[str, Opener, str]] = [("/none", plain, "404"), ("/whole", open_url, "not https"), ("/a b", plain, "")]
    for place, opener, message in attempts:
        with pytest.raises(ServiceError, match=f"{message}.*fetch it by hand") as error:
            download(url + place, SHA256, tmp_path, len(CONTENT), opener=opener)
        assert "\n" not in str(error.value)
    with pytest.raises(ServiceError, match="https://127.0.0.1:1/x: .*refused"):
        download("https://127.0.0.1:1/x", SHA256, tmp_path, 1)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ServiceError, match="fetch it by hand"):
        fetch(f"{url}/whole", SHA256, tmp_path / "file")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rdmc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/rdmc"
