"""MLflow's server behind a login: HTTP's basic authentication with one name and password, for every page and request.

MLflow's own app for that, ``basic-auth``, needs the package Flask-WTF, which this project does not install. Clients see no
difference: they set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and a browser asks for both.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/health", "/version"})
"""What a client may read before it logs in, as with MLflow's own app."""
USER, PASSWORD = "STACK_MLFLOW_USER", "STACK_MLFLOW_PASSWORD"
STORE, ARTIFACTS = "STACK_MLFLOW_STORE", "STACK_MLFLOW_ARTIFACTS"
"""Variables of the server: the login, the database and where artifacts are kept."""
REFUSAL = b"MLflow: a name and a password are needed; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD\n"


class Login:
    """An ASGI app that hands requests with the right name and password on to another, and answers 401 to all others."""

    def __init__(self, app: Asgi, user: str, password: str) -> None:
        self.app, self.expected = app, f"{user}:{password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and end of the server."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN) or self.knows(scope["headers"]):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b'Basic realm="mlflow", charset="UTF-8"')]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL})

    def knows(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request's headers hold the right name and password, compared in constant time."""
        sent = next((value for name, value in headers if name.lower() == b"authorization"), b"")
        kind, _, code = sent.partition(b" ")
        try:
            given = base64.b64decode(code.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return kind.lower() == b"basic" and hmac.compare_digest(given, self.expected)


def application() -> Login:
    """MLflow's server with a login, configured by this module's variables; ``mlflow server`` does the same without one.

    The database's tables are made or brought up to date.
    """
    from mlflow.server import constants
    from mlflow.server.handlers import initialize_backend_stores

    store = os.environ[STORE]
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: store,
        constants.REGISTRY_STORE_URI_ENV_VAR: store,
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: os.environ[ARTIFACTS],
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    initialize_backend_stores(store, store, "mlflow-artifacts:/")
    from mlflow.server.fastapi_app import app

    return Login(app, os.environ[USER], os.environ[PASSWORD])
