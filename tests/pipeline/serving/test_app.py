"""A real server: Ray Serve on the loopback interface, following an alias in a SQLite store."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from pipeline.config.settings import Settings
from pipeline.serving import derain
from pipeline.serving.app import address_of
from pipeline.serving.photos import read_photo
from pipeline.serving.requests import RequestLimits
from pipeline.serving.types import ServingConfig
from rdmc.checkpoint import load_model
from rdmc.inference import derain_image
from rdmc.models.base import Restorer
from rdmc.reference import load_reference, reference_card
from tests.support.browser import chromium, page
from tests.support.followed import Registry
from tests.support.processes import kill_all
from tests.support.serving import Server, encoded, png, server

PICTURES = [png(seed, 40 + seed, 56) for seed in range(4)]
SMALL = [png(seed, 24, 32) for seed in range(4)]
SECONDS = 300


@pytest.fixture(scope="module")
def served(models: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with at most two replicas, which check the alias often, and small limits."""
    folder = tmp_path_factory.mktemp("served")
    limits = ("--poll", "0.2", "--megabytes", "8", "--megapixels", "0.2")
    with server(folder, "--model", "models:/rain@champion", *limits, RDMC_GPU="false", MLFLOW_TRACKING_URI=models.uri) as found:
        yield found


def derained(network: Restorer, body: bytes) -> bytes:
    """The PNG that a network gives."""
    photo = read_photo(body)
    return photo.encoded(derain_image(network, photo.pixels), "PNG")


@pytest.fixture(scope="module")
def expected(models: Registry) -> dict[tuple[str, bytes], bytes]:
    """(version, image) -> the PNG that the version gives."""
    networks = {str(number): load_model(folder)[0] for number, folder in enumerate(models.folders, 1)}
    return {(v, body): derained(net, body) for v, net in networks.items() for body in [*PICTURES, *SMALL]}


def test_the_bytes_are_those_that_derain_writes(served: Server, models: Registry, tmp_path: Path) -> None:
    models.promote(1)
    tall = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    phone = encoded(tall, "MPO", save_all=True, append_images=[Image.fromarray(tall)])
    for name, body in (
        ("a.png", PICTURES[0]),
        ("b.jpg", encoded(tall, "JPEG")),
        ("c.webp", encoded(tall, "WEBP")),
        ("d.jpg", phone),
    ):
        (tmp_path / name).write_bytes(body)
        derain.run(tmp_path / name, tmp_path / "out.png", "models:/rain@champion", Settings(gpu=False), overwrite=True)
        status, headers, answer = served.ask("POST", "/derain", body, "application/octet-stream")
        assert (status, headers["content-type"], headers["x-model"]) == (200, "image/png", "rain")
        assert answer == (tmp_path / "out.png").read_bytes()
    status, headers, answer = served.ask(
        "POST", "/derain", PICTURES[0], "application/x-www-form-urlencoded", Accept="image/jpeg"
    )
    assert (status, headers["content-type"], answer[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")


class Callers:
    """Callers that send requests all the time. Every answer must be complete and from the version that it names."""

    def __init__(self, served: Server, expected: dict[tuple[str, bytes], bytes], pictures: list[bytes]) -> None:
        self.served, self.expected, self.pictures = served, expected, pictures
        self.answered, self.seen, self.broken = threading.Condition(), [Counter[str]()], list[str]()
        self.numbers, self.last = count(), threading.Event()

    def ask(self, requests: int) -> None:
        """Send requests until there were ``requests`` of them and the last move is done."""
        while ((number := next(self.numbers)) < requests or not self.last.is_set()) and not self.broken:
            body = self.pictures[number % len(self.pictures)]
            try:
                status, headers, answer = self.served.ask("POST", "/derain", body)
                version = headers.get("x-model-version", "")
                wrong = (
                    "" if (status, answer) == (200, self.expected.get((version, body))) else f"{status} {version} {answer!r}"
                )
            except OSError as error:
                wrong = repr(error)
            with self.answered:
                self.seen[-1][version] += 1
                self.broken += [wrong] if wrong else []
                self.answered.notify_all()

    def until(self, version: int, answers: int = 0) -> None:
        """Wait for ``answers`` answers in all, and for one of ``version`` since the last move of the alias."""

        def done() -> bool:
            return bool(self.broken) or (sum(map(Counter.total, self.seen)) >= answers and self.seen[-1][str(version)] > 0)

        with self.answered:
            assert self.answered.wait_for(done, SECONDS)


def moved(callers: Callers, models: Registry, requests: int, versions: list[int], number: int = 4) -> None:
    """Move the alias through ``versions`` under load, each time after the version before has answered."""
    models.promote(versions[0])
    with ThreadPoolExecutor(number) as pool:
        asking = [pool.submit(callers.ask, requests) for _ in range(number)]
        try:
            callers.until(versions[0])
            for place, version in enumerate(versions[1:], 1):
                callers.until(versions[place - 1], place * requests // len(versions))
                models.promote(version)
                with callers.answered:
                    callers.seen.append(Counter())
                callers.until(version)
        finally:
            callers.last.set()
    assert not callers.broken
    assert not [one.exception() for one in asking if one.exception()]
    assert sum(map(Counter.total, callers.seen)) >= requests
    assert all(counts[str(version)] for counts, version in zip(callers.seen, versions, strict=True))


def test_the_alias_moves_under_load_and_back(
    served: Server, models: Registry, expected: dict[tuple[str, bytes], bytes]
) -> None:
    moved(Callers(served, expected, PICTURES), models, 120, [1, 2, 1])


@pytest.mark.slow
@pytest.mark.soak
def test_ten_thousand_requests_and_two_moves(
    served: Server, models: Registry, expected: dict[tuple[str, bytes], bytes]
) -> None:
    moved(Callers(served, expected, SMALL), models, 10_000, [1, 2, 1], number=8)


def test_the_health_check_follows_the_alias_without_traffic(served: Server, models: Registry) -> None:
    for version in (2, 1):
        models.promote(version)
        end = time.monotonic() + SECONDS
        while json.loads(served.ask("GET", "/healthz")[2])["version"] != str(version):
            assert time.monotonic() < end


def test_killed_replicas_are_replaced(served: Server) -> None:
    """Every refusal is JSON, and new replicas answer soon."""
    with ThreadPoolExecutor(4) as callers:
        requests = [callers.submit(served.ask, "POST", "/derain", PICTURES[0]) for _ in range(40)]
        requests[3].result()
        kill_all(served.replicas())
    answers = [each.result() for each in requests]
    assert {status for status, _, _ in answers} <= {200, 503}
    assert all(json.loads(answer)["error"] for status, _, answer in answers if status == 503)
    assert answers[-1][0] == served.ask("POST", "/derain", PICTURES[0])[0] == 200


def test_requests_that_are_refused(served: Server) -> None:
    wide = encoded(np.zeros((500, 500, 3), np.uint8), "PNG")
    for method, path, body, kind, status in (
        ("POST", "/derain", b"", "image/png", 400),
        ("POST", "/derain", b"hello", "image/png", 415),
        ("POST", "/derain", PICTURES[0], "application/json", 415),
        ("POST", "/derain", PICTURES[0][:200], "image/png", 422),
        ("POST", "/derain", wide, "image/png", 413),
        ("POST", "/derain", bytes(30 * 2**20), "image/png", 413),  # without a broken connection
        ("GET", "/derain", None, "", 405),
        ("POST", "/", PICTURES[0], "image/png", 405),
        ("GET", "/../../etc/passwd", None, "", 404),
    ):
        found, headers, answer = served.ask(method, path, body, kind)
        assert (found, headers["content-type"], answer.count(b"\n")) == (status, "application/json", 1), (path, kind, answer)
        assert len(json.loads(answer)["error"]) > 10
    for headers in ({"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert served.ask("POST", "/derain", PICTURES[0], **headers)[0] == 403
    assert served.ask("POST", "/derain", PICTURES[0])[0] == 200


@pytest.mark.slow
def test_a_thousand_malformed_requests_are_answered(served: Server) -> None:
    rng = np.random.default_rng(0)
    seen: Counter[int] = Counter()
    for _ in range(1000):
        body = bytearray(PICTURES[0])
        for place in rng.integers(0, len(body), 4):
            body[place] = rng.integers(256)
        status, headers, answer = served.ask("POST", "/derain", bytes(body))
        assert status in (200, 413, 415, 422), answer
        assert status == 200 or (headers["content-type"], answer.count(b"\n")) == ("application/json", 1)
        seen[status] += 1
    assert seen[422] > 100
    assert served.ask("POST", "/derain", PICTURES[0])[0] == 200


def until(true: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_health_metrics_and_an_unavailable_registry(served: Server, models: Registry) -> None:
    until(lambda: json.loads(served.ask("GET", "/healthz")[2])["registry"] == "ok")  # a replica may just be starting
    state = json.loads(served.ask("GET", "/healthz")[2])
    assert (state["status"], state["model"]) == ("ok", "rain")
    assert state["source"] == "models:/rain@champion"
    assert state["replicas"] >= 1
    store = Path(models.uri.removeprefix("sqlite:///"))
    store.rename(store.with_suffix(".away"))
    try:
        # another replica may answer each request, and each finds out by itself
        until(lambda: b"rdmc_registry_up 0.0" in served.ask("GET", "/metrics")[2])
        until(lambda: "no MLflow store" in json.loads(served.ask("GET", "/healthz")[2])["registry"])
        assert served.ask("POST", "/derain", PICTURES[0])[0] == 200, "the loaded model stays in service"
    finally:
        store.with_suffix(".away").rename(store)
    status, headers, text = served.ask("GET", "/metrics")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
    names = {line.partition(" ")[0].partition("{")[0] for line in text.decode().splitlines() if not line.startswith("#")}
    assert {"rdmc_requests_total", "rdmc_request_seconds_bucket", "rdmc_pixels_total", "rdmc_model_info"} <= names


def test_the_page_loads_nothing_from_elsewhere(served: Server) -> None:
    status, headers, text = served.ask("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "unsafe" not in headers["content-security-policy"]
    assert b"//" not in text.replace(b"http-equiv", b"")
    assert b" style=" not in text
    assert b" onclick" not in text


@pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")
def test_a_picture_dropped_on_the_page(served: Server, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(PICTURES[0])
    for name, data in (("notes.png", b"no picture"), ("notes.txt", b"no picture"), ("large.png", bytes(9 * 2**20))):
        (tmp_path / name).write_bytes(data)
    with page(served.url, tmp_path / "profile") as found:
        found.drop(tmp_path / "photo.png")
        found.until("!document.getElementById('view').hidden && document.getElementById('after').naturalWidth > 0")
        size = "[document.getElementById('after').naturalWidth, document.getElementById('after').naturalHeight]"
        assert found.value(size) == [56, 40]
        shown = "getComputedStyle(document.getElementById('before')).clipPath"
        half = found.value(shown)
        found.value("const s = document.getElementById('slide'); s.value = 20; s.dispatchEvent(new Event('input'))")
        assert half != found.value(shown), "the slider moves the edge"
        assert "version" in found.value("document.getElementById('message').textContent")
        message = "document.getElementById('message').textContent"
        for name, words in (("notes.png", "first bytes"), ("notes.txt", "is not a PNG"), ("large.png", "limit is 8 MiB")):
            found.drop(tmp_path / name)
            found.until(f"{message}.includes('{words}') && document.getElementById('message').className === 'bad'")
        found.value("const none = new DataTransfer(); dispatchEvent(new DragEvent('drop', {dataTransfer: none}))")
        assert "not a file" in found.value(message)
        found.drop(tmp_path / "photo.png")
        found.until(f"{message}.includes('version')")
        broken = [event for event in found.events if event["method"] == "Log.entryAdded"]
        assert not [event for event in broken if "Content Security Policy" in event["params"]["entry"]["text"]]


@pytest.mark.slow
def test_a_fresh_clone_serves_the_reference_and_says_so(tmp_path: Path) -> None:
    card, expected = reference_card(), derained(load_reference(), PICTURES[0])
    line = f"model: reference version {card.version} (comes with the package); nothing is registered yet, and this server stays"
    with server(tmp_path, RDMC_GPU="false", RDMC_WORKERS="1", MLFLOW_TRACKING_URI="sqlite:///mlflow.db") as found:
        until(lambda: line in (tmp_path / "server.log").read_text())  # it is said when the port is open already
        state = json.loads(found.ask("GET", "/healthz")[2])
        assert (state["model"], state["version"], state["source"]) == ("reference", card.version, "reference")
        status, headers, answer = found.ask("POST", "/derain", PICTURES[0])
        assert (status, headers["x-model"], headers["x-model-version"]) == (200, "reference", card.version)
        assert answer == expected
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    port = urlsplit(found.url).port
    assert written == [f".cache/serve-{port}.log", "server.log"], "neither a store nor a cache"
    assert " POST /derain 200 " in (tmp_path / written[0]).read_text()


def test_an_address_puts_ipv6_in_brackets() -> None:
    config = ServingConfig("models:/rain@champion", "127.0.0.1", 8000, 1024, 1, 8, 5.0, RequestLimits(), Path("cache"))
    assert address_of(config) == "http://127.0.0.1:8000"
    assert address_of(replace(config, host="::1")) == "http://[::1]:8000"
