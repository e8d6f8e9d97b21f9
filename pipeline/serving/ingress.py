"""The HTTP side of the server: the web page, the health check, the metrics, and images.

It refuses requests that are not images and hands the others to the replicas. It computes nothing itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import traceback
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
from pipeline.serving.request_log import RequestLog
from pipeline.serving.requests import RequestError, admit, own_names, picture, too_long_to_discard, wanted_form
from pipeline.serving.types import Answer, ModelStatus, ServingConfig

PAGE = Path(__file__).with_name("page.html")
APP = "rdmc"
PATHS = {"/": ("GET", "HEAD"), "/healthz": ("GET", "HEAD"), "/metrics": ("GET", "HEAD"), "/derain": ("POST",)}
ASK_SECONDS = 2.0
"""Seconds to wait for a replica's model status. After that, the last known status is reported."""
GONE_AWAY = 499
"""The status that is counted for a caller who did not wait for the answer."""
LONGEST = 200
"""Most characters of a path in the log."""
LOG = logging.getLogger("ray.serve")


class Ingress:
    """Answers HTTP requests with the help of the replicas.

    Args:
        derainer: Ray Serve's handle of the replicas.
        config: how to serve.
        model: the status of the model when the server started.
        capacity: images that may be in progress, including those that are still arriving. Further ones are refused before they
            are read.
    """

    def __init__(self, derainer: Any, config: ServingConfig, model: ModelStatus, capacity: int) -> None:
        self.derainer, self.config, self.limits, self.capacity = derainer, config, config.limits, capacity
        self.inside, self.log = 0, RequestLog(config.log)
        text = PAGE.read_text()
        self.policy = policy(text)
        limit = f'data-megabytes="{self.limits.megabytes:g}"'
        self.page = text.replace('data-megabytes="32"', limit).encode()
        self.hosts = own_names(config.host)
        self.meters, self.model = ServingMetrics(), model
        self.meters.registry_up.set(not model.problem)
        self.meters.served(model.model, model.version)

    async def __call__(self, request: Request) -> Response:
        """Answer any request, and count it."""
        path, status, length, started = request.scope["path"], GONE_AWAY, 0, time.perf_counter()
        try:
            response = await self._answered(path, request)
            status, length = response.status_code, len(response.body)
        finally:
            self.meters.requests.labels(path if path in PATHS else "other", str(status)).inc()
            caller = request.client.host if request.client else "-"
            seconds = time.perf_counter() - started
            self.log.line(f"{caller} {request.method} {path[:LONGEST]} {status} {length} bytes {seconds:.3f} s")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _answered(self, path: str, request: Request) -> Response:
        try:
            admit(request, self.hosts)
            if path not in PATHS:
                raise RequestError(404, f"nothing is here; there are {', '.join(PATHS)}")
            if request.method not in PATHS[path]:
                raise RequestError(405, f"{request.method}: {path} takes {', '.join(PATHS[path])}")
            return await self._answer(path, request)
        except RequestError as refusal:
            return refusal.response()
        except Exception:
            LOG.exception("a request to %s failed", path)
            self.log.block(traceback.format_exc())
            return RequestError(500, "an error of the server itself; its log has the details").response()

    async def _answer(self, path: str, request: Request) -> Response:
        if path == "/derain":
            return await self._derain(request)
        if path == "/":
            return Response(self.page, headers={"Content-Security-Policy": self.policy}, media_type="text/html; charset=utf-8")
        replicas = await asyncio.to_thread(running)
        await self._refresh()
        if path == "/metrics":
            self.meters.replicas.set(replicas)
            return Response(self.meters.text(), media_type=TYPE)
        health = {"status": "ok" if replicas else "no replica", "model": self.model.model, "version": self.model.version}
        health["source"] = self.config.model
        return JSONResponse({**health, "replicas": replicas, "registry": self.model.problem or "ok"}, 200 if replicas else 503)

    async def _refresh(self) -> None:
        """Ask a replica for its model status. If all are busy or ending, the last known status stays."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._note(await self.derainer.model_status.remote())
        except (TimeoutError, RayActorError, RayServeException):
            return

    async def _derain(self, request: Request) -> Response:
        if self.inside >= self.capacity:
            closes = too_long_to_discard(request, self.limits)
            raise RequestError(503, f"{self.inside} images are in progress; try again in a moment", closes)
        self.inside += 1
        try:
            with self.meters.waiting.track_inprogress():
                body = await picture(request, self.limits)
                form = wanted_form(request.headers.get("accept", ""))
                with self.meters.seconds.time():
                    answer = await self._ask(body, form)
        finally:
            self.inside -= 1
        self._note(answer.model)
        if answer.status != 200:
            raise RequestError(answer.status, answer.data.decode())
        self.meters.pixels.inc(answer.pixels)
        self.meters.network.observe(answer.seconds)
        self.meters.together.observe(answer.together)
        headers = {**model_headers(answer.model), "Vary": "Accept"}
        return Response(answer.data, headers=headers, media_type=f"image/{form.lower()}")

    async def _ask(self, body: bytes, form: str, again: bool = True) -> Answer:
        """A replica's answer. If the replica ends before it answers, another one is asked once, which is safe to repeat."""
        try:
            async with asyncio.timeout(self.config.timeout):
                answer: Answer = await self.derainer.derain.remote(body, form)
                return answer
        except BackPressureError:
            raise RequestError(503, "too many images are waiting; try again in a moment") from None
        except TimeoutError:
            raise RequestError(
                504, f"not derained within {self.config.timeout:g} s; send a smaller image, or fewer at once"
            ) from None
        except RayActorError:
            if again:
                return await self._ask(body, form, again=False)
            raise RequestError(503, "two processes ended while they derained this image; try again in a moment") from None

    def _note(self, model: ModelStatus) -> None:
        self.meters.registry_up.set(not model.problem)
        if (model.model, model.version) != (self.model.model, self.model.version):
            self.meters.served(model.model, model.version)
            self.log.line(f"model {_shown(model)} answers, before: {_shown(self.model)}")
        if model.problem != self.model.problem:
            self.log.line(f"registry: {model.problem or 'ok'}")
        self.model = model


def _shown(model: ModelStatus) -> str:
    return f"{model.model} version {model.version}" if model.version else model.model


def model_headers(status: ModelStatus) -> dict[str, str]:
    """Response headers that name the model. Its name is percent-encoded, because headers are Latin-1."""
    return {"X-Model": quote(status.model, safe=""), "X-Model-Version": status.version, "Cache-Control": "no-store"}


def policy(page: str) -> str:
    """The content security policy of a page with one inline script and one inline style: nothing else may run or load."""
    own = "; ".join(f"{kind}-src 'sha256-{_digest(page, kind)}'" for kind in ("script", "style"))
    shut = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return f"default-src 'none'; {own}; img-src blob:; connect-src 'self'; {shut}"


def _digest(page: str, kind: str) -> str:
    inside = page.partition(f"<{kind}>")[2].partition(f"</{kind}>")[0]
    return b64encode(hashlib.sha256(inside.encode()).digest()).decode()


def running() -> int:
    """The number of replicas that are running."""
    application = serve.status().applications.get(APP)
    derainer = application.deployments.get("Derainer") if application else None
    return int(derainer.replica_states.get("RUNNING", 0)) if derainer else 0
