"""``Ingress`` in front of replicas that fail in every way: what the caller sees and what is counted."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError
from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving import ingress
from pipeline.serving.ingress import Ingress
from pipeline.serving.requests import RequestLimits
from pipeline.serving.types import Answer, ModelStatus, ServingConfig
from tests.support.serving import png

CONFIG = ServingConfig("models:/rain@champion", "127.0.0.1", 8000, 1024, 1, 8, 5.0, RequestLimits(), Path("cache"))
FIRST = ModelStatus("rain", "1", "")
PHOTO = png(0)


class Method:
    """A method of a replica. Each call gives the next of ``results``; the last one repeats."""

    def __init__(self, *results: Any) -> None:
        self.results, self.bodies = list(results), list[Any]()

    async def remote(self, *body: Any) -> Any:
        self.bodies.append(body)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return await result() if callable(result) else result


class Replicas:
    """The handle of replicas."""

    def __init__(self, derain: Method, model_status: Method | None = None) -> None:
        self.derain, self.model_status = derain, model_status or Method(FIRST)


def request(path: str = "/derain", body: bytes | None = PHOTO, method: str = "POST", **headers: str) -> Request:
    """A request. Its body never arrives if it is None."""

    async def receive() -> Any:
        if body is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}, receive)


def opened(*derain: Any, status: Method | None = None, capacity: int = 8, first: ModelStatus = FIRST) -> Ingress:
    config = replace(CONFIG, timeout=0.1) if hang in derain else CONFIG  # a busy machine may be slow with what does answer
    return Ingress(Replicas(Method(*derain), status), config, first, capacity)


def counted(found: Ingress, path: str, status: int) -> float:
    return float(found.meters.registry.get_sample_value("rdmc_requests_total", {"path": path, "status": str(status)}) or 0)


async def hang() -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


GOOD = Answer(b"a png", 200, ModelStatus("rain", "2", ""), 0.1, 1, 2240)


@pytest.mark.parametrize(
    ("results", "status", "calls"),
    [
        ([GOOD], 200, 1),
        ([RayActorError(), GOOD], 200, 2),
        ([RayActorError()], 503, 2),
        ([ValueError("/secret/place\nsecond line"), GOOD], 500, 1),
        ([hang], 504, 1),
        ([Answer(b"the weights are bad", 500, FIRST)], 500, 1),
    ],
)
def test_a_failing_replica_is_asked_once_more_and_gives_one_line(results: list[Any], status: int, calls: int) -> None:
    found = opened(*results)
    answer: Response = asyncio.run(found(request()))
    assert (answer.status_code, found.derainer.derain.bodies) == (status, [(PHOTO, "PNG")] * calls)
    assert counted(found, "/derain", status) == 1
    if status == 200:
        assert (answer.body, answer.headers["x-model-version"]) == (b"a png", "2")
        return
    text = bytes(answer.body).decode()
    assert text.count("\n") == 1
    assert len(json.loads(text)["error"]) > 10
    assert "secret" not in text


def test_accept_chooses_the_format_of_the_answer() -> None:
    found = opened(GOOD)
    for accept, kind in (("image/jpeg", "image/jpeg"), ("image/webp", "image/webp"), ("*/*", "image/png")):
        answer: Response = asyncio.run(found(request(accept=accept)))
        assert (answer.status_code, answer.media_type, answer.headers["vary"]) == (200, kind, "Accept")
    assert [form for _, form in found.derainer.derain.bodies] == ["JPEG", "WEBP", "PNG"]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_requests_and_changes_of_the_model_are_logged(tmp_path: Path) -> None:
    log = tmp_path / "new/serve.log"
    found = Ingress(Replicas(Method(GOOD, ValueError("out of order"))), replace(CONFIG, log=log), FIRST, 8)
    asyncio.run(found(request(user_agent="curl")))
    asyncio.run(found(request("/healthz\nforged", None, "GET")))
    asyncio.run(found(request()))
    changed, access, refused, *error, failed = lines(log)
    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(when + " model rain version 2 answers, before: rain version 1", changed)
    assert re.fullmatch(when + r" - POST /derain 200 5 bytes \d+\.\d{3} s", access)
    assert re.fullmatch(when + r" - GET /healthz\\nforged 404 \d+ bytes \d+\.\d{3} s", refused)
    assert "ValueError: out of order" in "\n".join(error)
    assert " POST /derain 500 " in failed


def test_a_log_that_cannot_be_written_stops_no_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = Ingress(Replicas(Method(GOOD)), replace(CONFIG, log=tmp_path / "file/serve.log"), FIRST, 8)
    assert asyncio.run(found(request())).status_code == 200


def test_a_model_name_beyond_latin_1_is_encoded() -> None:
    answer = asyncio.run(opened(Answer(b"a png", 200, ModelStatus("дождь / 雨", "1", "")))(request()))
    assert (answer.status_code, answer.headers["x-model"]) == (200, "%D0%B4%D0%BE%D0%B6%D0%B4%D1%8C%20%2F%20%E9%9B%A8")


def test_slow_bodies_do_not_block_the_health_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "running", lambda: 1)

    async def busy(found: Ingress) -> tuple[Response, Response]:
        slow = [asyncio.create_task(found(request(body=None))) for _ in range(2)]
        await asyncio.sleep(0)
        refused, health = await found(request(body=None)), await found(request("/healthz", method="GET"))
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return refused, health

    found = opened(GOOD, capacity=2)
    refused, health = asyncio.run(busy(found))
    assert (refused.status_code, refused.headers["retry-after"], refused.headers["connection"]) == (503, "1", "close")
    assert health.status_code == 200
    assert counted(found, "/derain", 499) == 2
    assert asyncio.run(found(request())).status_code == 200, "the cancelled requests free their capacity"


@pytest.mark.parametrize(
    ("says", "version", "registry"),
    [
        (Method(ModelStatus("rain", "7", "")), "7", "ok"),
        (Method(ModelStatus("rain", "7", "away")), "7", "away"),
        (Method(RayActorError()), "1", "away at first"),
        (Method(hang), "1", "away at first"),
    ],
)
def test_the_model_status_comes_from_a_replica(
    says: Method, version: str, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingress, "running", lambda: 1)
    monkeypatch.setattr(ingress, "ASK_SECONDS", 0.2 if hang in says.results else 60)
    found = opened(GOOD, status=says, first=ModelStatus("rain", "1", "away at first"))
    health = json.loads(bytes(asyncio.run(found(request("/healthz", method="GET"))).body))
    assert (health["version"], health["registry"]) == (version, registry)
    assert health["source"] == "models:/rain@champion"
    metrics = bytes(asyncio.run(found(request("/metrics", method="GET"))).body).decode()
    assert f'rdmc_model_info{{model="rain",version="{version}"}} 1.0' in metrics
    assert f"rdmc_registry_up {float(registry == 'ok')}" in metrics


def test_the_page_has_the_size_limit_and_its_own_policy() -> None:
    found = Ingress(
        Replicas(Method(GOOD)), ServingConfig("m", "127.0.0.1", 1, 1, 1, 1, 1.0, RequestLimits(0.5), Path()), FIRST, 8
    )
    answer = asyncio.run(found(request("/", method="GET")))
    assert b'<body data-megabytes="0.5">' in bytes(answer.body)
    assert answer.headers["content-security-policy"] == ingress.policy(bytes(answer.body).decode())


def test_every_refusal_is_counted() -> None:
    found = opened(GOOD)
    for asked, status in (
        (request("/none", method="GET"), 404),
        (request("/derain", method="GET"), 405),
        (request(host="evil.example"), 403),
        (request(sec_fetch_site="cross-site"), 403),
        (request(body=b"hello"), 415),
    ):
        assert asyncio.run(found(asked)).status_code == status
    assert [counted(found, *key) for key in (("other", 404), ("/derain", 405), ("/derain", 403), ("/derain", 415))] == [
        1,
        1,
        2,
        1,
    ]
