"""The login before MLflow: only the right name and password pass."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import MutableMapping
from typing import Any

import pytest

from pipeline.stack.login import REFUSAL, Login, Receive, Scope, Send


async def pages(scope: Scope, receive: Receive, send: Send) -> None:
    """The app behind the login."""
    await send({"type": "passed"})


def answers(authorization: str | None, path: str = "/", kind: str = "http") -> list[MutableMapping[str, Any]]:
    """What a client gets."""
    headers = [(b"host", b"127.0.0.1"), *([(b"authorization", authorization.encode())] if authorization is not None else [])]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": kind} if kind == "lifespan" else {"type": kind, "path": path, "headers": headers}
    asyncio.run(Login(pages, "rdmc", "pass:word")(scope, receive, send))
    return sent


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_the_right_name_and_password_pass() -> None:
    assert answers(basic("rdmc:pass:word")) == [{"type": "passed"}]
    assert answers(basic("rdmc:pass:word").replace("Basic", "basic")) == [{"type": "passed"}]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !",
        basic("rdmc:pass"),
        basic("other:pass:word"),
        basic(""),
        basic("é:ü"),
        "Bearer rdmc:pass:word",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/2.0/mlflow/runs/create", "/health/../api", "/healthy", "/static-files/main.js"])
def test_all_else_is_asked_to_log_in(authorization: str | None, path: str) -> None:
    start, body = answers(authorization, path)
    assert start["status"] == 401
    assert (b"www-authenticate", b'Basic realm="mlflow", charset="UTF-8"') in start["headers"], "so a browser asks"
    assert body["body"] == REFUSAL


def test_health_needs_no_login_and_a_servers_start_none() -> None:
    assert answers(None, "/health") == answers(None, kind="lifespan") == [{"type": "passed"}]


def test_a_websocket_without_login_is_closed() -> None:
    assert answers(None, kind="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert answers(basic("rdmc:pass:word"), kind="websocket") == [{"type": "passed"}]
