"""The checks of requests, with real ASGI requests and without a server."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request

from pipeline.serving import requests
from pipeline.serving.requests import RequestError, RequestLimits, admit, own_names, picture, wanted_form
from tests.support.serving import encoded, png

LIMITS = RequestLimits(megabytes=0.05, megapixels=0.01, seconds=0.2)
PHOTO = png(0)


def request(parts: Sequence[bytes], kind: str | None = "image/png", declared: int | None = None, ends: bool = True) -> Request:
    headers = [(b"content-type", kind.encode())] if kind is not None else []
    headers += [(b"content-length", str(declared).encode())] if declared is not None else []
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    scope = {"type": "http", "method": "POST", "path": "/derain", "query_string": b"", "headers": headers}
    return Request(scope, receive)


def accepted(*arguments: Any, **others: Any) -> bytes:
    return asyncio.run(picture(request(*arguments, **others), LIMITS))


def form(body: bytes, name: str = "image", boundary: str = "xyz") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + body + f"\r\n--{boundary}--\r\n".encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""
    shape = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", shape) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_images_pass_unchanged() -> None:
    pixels = np.zeros((8, 9, 3), np.uint8)
    for body in (PHOTO, encoded(pixels, "JPEG"), encoded(pixels, "WEBP")):
        assert accepted([body]) == body
        assert accepted([body[:10], body[10:]], None) == body
        assert accepted([form(body)], "multipart/form-data; boundary=xyz") == body
    phone = encoded(pixels, "MPO", save_all=True, append_images=[Image.fromarray(pixels)])
    assert accepted([phone]) == phone


@pytest.mark.parametrize(
    ("parts", "kind", "status", "reason"),
    [
        ([b""], "image/png", 400, "zero bytes"),
        ([PHOTO], "text/html", 415, "text/html: send PNG"),
        ([b"GIF89a" + bytes(50)], "image/gif", 415, "first bytes"),
        ([b"RIFF" + bytes(50)], "image/webp", 422, "not an image"),
        ([PHOTO[:20]], "image/png", 422, "image: "),
        ([bytes(30_000), bytes(30_000)], "image/png", 413, "more than 0.05 MiB"),
        ([bomb(101, 100)], "image/png", 413, "101x100 is more than 0.01 megapixels"),
        ([bomb(10_000, 10_000)], "image/png", 413, "80,000,000"),
        ([bomb(100_000, 100_000)], "image/png", 413, "decompression bomb"),
        ([form(PHOTO, "photo")], "multipart/form-data; boundary=xyz", 400, "no file 'image'"),
        ([form(PHOTO)], "multipart/form-data; boundary=other", 400, "form"),
        ([form(PHOTO)], "multipart/form-data", 400, "form cannot be read"),
        ([form(PHOTO)[:50]], "multipart/form-data; boundary=xyz", 400, "form"),
        ([form(b"hello")], "multipart/form-data; boundary=xyz", 415, "first bytes"),
    ],
)
def test_bad_bodies_are_refused_with_one_line(parts: list[bytes], kind: str, status: int, reason: str) -> None:
    with pytest.raises(RequestError) as refused:
        accepted(parts, kind)
    answer = refused.value.response()
    assert (answer.status_code, bytes(answer.body).count(b"\n")) == (status, 1)
    assert reason in json.loads(bytes(answer.body))["error"]


def test_a_header_is_read_outside_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    on_main_thread = []
    monkeypatch.setattr(
        requests, "check", lambda *_: on_main_thread.append(threading.current_thread() is threading.main_thread())
    )
    accepted([PHOTO])
    assert on_main_thread == [False]


def test_a_header_of_nothing_but_filler_is_refused() -> None:
    jpeg = encoded(np.zeros((8, 9, 3), np.uint8), "JPEG")
    with pytest.raises(RequestError, match="filler") as refused:
        accepted([jpeg[:2] + b"\xff" * 40_000 + jpeg[2:]])
    assert refused.value.status == 422


@pytest.mark.parametrize(
    "kind",
    ["", "*/*", "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8", "binary/octet-stream"],
)
def test_the_first_bytes_decide_where_the_header_says_nothing(kind: str) -> None:
    assert accepted([PHOTO], kind) == PHOTO
    with pytest.raises(RequestError, match="by its first bytes") as caught:
        accepted([b"name=value"], kind)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "PNG"),
        ("*/*", "PNG"),
        ("image/*", "PNG"),
        ("text/html", "PNG"),
        ("image/jpeg", "JPEG"),
        ("IMAGE/JPG", "JPEG"),
        ("image/webp;q=0.9, image/jpeg;q=0.8", "WEBP"),
        ("image/jpeg, image/png", "PNG"),
        ("image/jpeg;q=0.9, image/png;q=0.2, */*", "JPEG"),
        ("image/jpeg;q=high, ;;, image/webp", "WEBP"),
        ("image/jpeg;q=0", "PNG"),
    ],
)
def test_accept_chooses_the_format_of_the_answer(accept: str, form: str) -> None:
    assert wanted_form(accept) == form


@pytest.mark.parametrize(("times", "closes"), [(2, None), (100, "close")])
def test_a_refused_body_is_read_and_discarded_within_bounds(times: int, closes: str | None) -> None:
    """Otherwise the sender would see a broken connection and no answer."""
    with pytest.raises(RequestError) as refused:
        accepted([], declared=int(times * LIMITS.megabytes * 2**20), ends=False)
    assert (refused.value.status, refused.value.response().headers.get("connection")) == (413, closes)


@pytest.mark.parametrize(
    ("host", "headers", "admitted"),
    [
        ("127.0.0.1", {"host": "127.0.0.1:8000"}, True),
        ("127.0.0.1", {"host": "LOCALHOST"}, True),
        ("127.0.0.1", {"host": "[::1]:8000"}, True),
        ("::1", {"host": "[::1]:8000"}, True),
        ("127.0.0.1", {"host": "evil.example:8000"}, False),
        ("127.0.0.1", {"host": "127.0.0.1.evil.example"}, False),
        ("10.0.0.1", {"host": "rain.example"}, True),
        ("10.0.0.1", {"host": "rain.example", "sec-fetch-site": "same-origin"}, True),
        ("10.0.0.1", {"host": "rain.example", "sec-fetch-site": "cross-site"}, False),
        ("127.0.0.1", {"host": "127.0.0.1", "sec-fetch-site": "cross-site"}, False),
        ("localhost", {}, True),
    ],
)
def test_requests_on_behalf_of_other_sites_are_refused(host: str, headers: dict[str, str], admitted: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    sent = Request({"type": "http", "method": "POST", "path": "/derain", "query_string": b"", "headers": raw})
    if admitted:
        admit(sent, own_names(host))
        return
    with pytest.raises(RequestError) as refused:
        admit(sent, own_names(host))
    assert refused.value.status == 403


def test_a_body_is_refused_by_its_declared_length_or_when_it_does_not_arrive() -> None:
    with pytest.raises(RequestError, match="more than 0.05 MiB"):
        accepted([], declared=10**9, ends=False)
    with pytest.raises(RequestError, match="did not arrive within"):
        accepted([PHOTO[:50]], ends=False)


def test_a_thousand_damaged_bodies_are_accepted_or_refused_and_raise_nothing_else() -> None:
    rng = np.random.default_rng(0)
    statuses = set()
    for number in range(1000):
        body = bytearray(form(PHOTO) if number % 3 == 0 else PHOTO)
        for position in rng.integers(0, min(len(body), 200), 1 + number % 8):
            body[position] = rng.integers(256)
        kind = "multipart/form-data; boundary=xyz" if number % 3 == 0 else "image/png"
        try:
            accepted([bytes(body[: rng.integers(1, len(body) + 1)])], kind)
            statuses.add(200)
        except RequestError as refused:
            statuses.add(refused.status)
    assert statuses <= {200, 400, 413, 415, 422}
    assert {200, 400, 415, 422} <= statuses
