"""What speaks HTTP: the page, the state, the counters, pictures. It refuses what is no picture, and computes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.serving.metrics import TYPE, ServingMetrics
from pipeline.serving.requests import RefusedRequest, admit, own_names, picture, too_long_to_let_come
from pipeline.serving.types import Answer, ModelStatus, ServingConfig

PAGE = Path(__file__).with_name("page.html")
APP = "rdmc"
PATHS = {"/": ("GET", "HEAD"), "/healthz": ("GET", "HEAD"), "/metrics": ("GET", "HEAD"), "/derain": ("POST",)}
ASK_SECONDS = 2.0
"""How long a replica may take to say which model it has, before its last answer counts."""
GONE_AWAY = 499
"""Counted for a caller who did not wait for the answer."""
LOG = logging.getLogger("ray.serve")


class Ingress:
    """HTTP before the replicas.

    Args:
        derainer: the handle of the replicas.
        plan: how to serve.
        state: of the model as whoever serves has found it.
        places: pictures that may be inside, arriving ones too; more are refused before they are read.
    """

    def __init__(self, derainer: Any, plan: ServingConfig, state: ModelStatus, places: int) -> None:
        self.derainer, self.plan, self.limits, self.places = derainer, plan, plan.limits, places
        self.inside = 0
        text = PAGE.read_text()
        self.policy = policy(text)
        told = f'data-megabytes="{self.limits.megabytes:g}"'
        self.page = text.replace('data-megabytes="32"', told).encode()
        self.hosts = own_names(plan.host)
        self.meters, self.state = ServingMetrics(), state
        self.meters.registry_up.set(not state.problem)
        self.meters.served(state.model, state.version)

    async def __call__(self, request: Request) -> Response:
        """The answer to any request."""
        path, status = request.scope["path"], GONE_AWAY
        try:
            response = await self._answered(path, request)
            status = response.status_code
        finally:
            self.meters.requests.labels(path if path in PATHS else "other", str(status)).inc()
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _answered(self, path: str, request: Request) -> Response:
        try:
            admit(request, self.hosts)
            if path not in PATHS:
                raise RefusedRequest(404, f"nothing is here; there are {', '.join(PATHS)}")
            if request.method not in PATHS[path]:
                raise RefusedRequest(405, f"{request.method}: {path} takes {', '.join(PATHS[path])}")
            return await self._answer(path, request)
        except RefusedRequest as refusal:
            return refusal.response()
        except Exception:
            LOG.exception("a request to %s failed", path)
            return RefusedRequest(500, "a fault of the server's own; its log says which").response()

    async def _answer(self, path: str, request: Request) -> Response:
        if path == "/derain":
            return await self._derain(request)
        if path == "/":
            return Response(self.page, headers={"Content-Security-Policy": self.policy}, media_type="text/html; charset=utf-8")
        replicas = await asyncio.to_thread(running)
        await self._look()
        if path == "/metrics":
            self.meters.replicas.set(replicas)
            return Response(self.meters.text(), media_type=TYPE)
        said = {"status": "ok" if replicas else "no replica", "model": self.state.model, "version": self.state.version}
        return JSONResponse({**said, "replicas": replicas, "registry": self.state.problem or "ok"}, 200 if replicas else 503)

    async def _look(self) -> None:
        """Ask a replica which model it has; where all are busy or ending, what was said last stands."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._note(await self.derainer.state.remote())
        except (TimeoutError, RayActorError, RayServeException):
            return

    async def _derain(self, request: Request) -> Response:
        if self.inside >= self.places:
            closes = too_long_to_let_come(request, self.limits)
            raise RefusedRequest(503, f"{self.inside} pictures are on their way; try again in a moment", closes)
        self.inside += 1
        try:
            with self.meters.waiting.track_inprogress():
                body = await picture(request, self.limits)
                with self.meters.seconds.time():
                    answer = await self._ask(body)
        finally:
            self.inside -= 1
        self._note(answer.state)
        if answer.status != 200:
            raise RefusedRequest(answer.status, answer.data.decode())
        self.meters.pixels.inc(answer.pixels)
        self.meters.network.observe(answer.seconds)
        self.meters.together.observe(answer.together)
        return Response(answer.data, headers=model_headers(answer.state), media_type="image/png")

    async def _ask(self, body: bytes, again: bool = True) -> Answer:
        """A replica's answer; of another where the first ends before it answers, for asking twice changes nothing."""
        try:
            async with asyncio.timeout(self.plan.timeout):
                answer: Answer = await self.derainer.derain.remote(body)
                return answer
        except BackPressureError:
            raise RefusedRequest(503, "too many pictures are waiting; try again in a moment") from None
        except TimeoutError:
            raise RefusedRequest(
                504, f"not derained within {self.plan.timeout:g} s; send a smaller one, or fewer at once"
            ) from None
        except RayActorError:
            if again:
                return await self._ask(body, again=False)
            raise RefusedRequest(503, "the process that derained it ended, and so did another; try again in a moment") from None

    def _note(self, state: ModelStatus) -> None:
        self.meters.registry_up.set(not state.problem)
        if (state.model, state.version) != (self.state.model, self.state.version):
            self.meters.served(state.model, state.version)
        self.state = state


def model_headers(state: ModelStatus) -> dict[str, str]:
    """Which model made a picture; its name as in a URL, for headers are Latin-1."""
    return {"X-Model": quote(state.model, safe=""), "X-Model-Version": state.version, "Cache-Control": "no-store"}


def policy(page: str) -> str:
    """The content security policy of a page whose one script and one style stand inside it: nothing else may run or load."""
    own = "; ".join(f"{kind}-src 'sha256-{_digest(page, kind)}'" for kind in ("script", "style"))
    shut = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return f"default-src 'none'; {own}; img-src blob:; connect-src 'self'; {shut}"


def _digest(page: str, kind: str) -> str:
    inside = page.partition(f"<{kind}>")[2].partition(f"</{kind}>")[0]
    return b64encode(hashlib.sha256(inside.encode()).digest()).decode()


def running() -> int:
    """Replicas that answer."""
    found = serve.status().applications.get(APP)
    derainer = found.deployments.get("Derainer") if found else None
    return int(derainer.replica_states.get("RUNNING", 0)) if derainer else 0
