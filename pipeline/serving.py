"""A model over HTTP by Ray Serve: a picture in, a PNG out. The only home of ray.serve.

``Door`` speaks HTTP and refuses what is no picture; ``Derainer``, of which there are as many as the load asks for, decodes,
derains and encodes, and follows the alias (pipeline/followed.py). A request ends with the model that it began with.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import BackPressureError
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.cluster import cluster, on_gpu, workers
from pipeline.followed import Followed
from pipeline.intake import Limits, Refusal, picture
from pipeline.meters import TYPE, Meters
from pipeline.mlflow_store import sqlite_path
from pipeline.settings import Settings
from rdmc.data.images import encode_png, read_rgb
from rdmc.errors import CheckpointError, RdmcError, ServiceError
from rdmc.inference import best_device, derain_images

PAGE = Path(__file__).with_name("page.html")
APP = "rdmc"
PATHS = {"/": ("GET", "HEAD"), "/healthz": ("GET", "HEAD"), "/metrics": ("GET", "HEAD"), "/derain": ("POST",)}


@dataclass(frozen=True)
class Plan:
    """How to serve."""

    model: str
    host: str
    port: int
    tile: int
    batch: int
    """Pictures of one shape that go through the network together; 1 gives the bytes that ``derain`` writes."""
    queue: int
    """Pictures that may wait; more are answered 503."""
    poll: float
    """Seconds between two looks at the alias."""
    limits: Limits
    cache: Path


@dataclass(frozen=True)
class Answer:
    """What a replica made of a picture: a PNG, or why not."""

    data: bytes
    status: int
    model: str
    version: str
    problem: str
    """Of the registry, empty where it answers."""
    seconds: float = 0.0
    together: int = 1
    pixels: int = 0


class Derainer:
    """One process with one model."""

    def __init__(self, plan: Plan, settings: Settings, tracking_uri: str, threads: int, device: str) -> None:
        self.ended = threading.Event()
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
        torch.set_num_threads(threads)
        self.plan, self.device = plan, device
        self.model = Followed(plan.model, settings, plan.cache)
        self._together.set_max_batch_size(plan.batch)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.ended.wait(self.plan.poll):
            try:
                self.model.refresh()
            except Exception as error:  # noqa: BLE001  # whatever it is, what is loaded goes on being served
                self.model.problem = f"{type(error).__name__}: {error}"

    def __del__(self) -> None:
        self.ended.set()

    async def derain(self, body: bytes) -> Answer:
        """The derained picture as the bytes of a PNG file."""
        current = self.model.current
        try:
            pixels = await asyncio.to_thread(read_rgb, body, True)
            derained, current, seconds, together = await self._together(pixels)
            data, status = await asyncio.to_thread(encode_png, derained), 200
        except RdmcError as error:
            status = 500 if isinstance(error, CheckpointError) else 422
            return Answer(str(error).encode(), status, current.name, current.version, self.model.problem)
        size = pixels.shape[0] * pixels.shape[1]
        return Answer(data, status, current.name, current.version, self.model.problem, seconds, together, size)

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _together(self, images: list[NDArray[Any]]) -> list[Any]:
        current, started = self.model.current, time.perf_counter()
        derained = await asyncio.to_thread(derain_images, current.network, images, self.plan.tile, self.device)
        seconds = time.perf_counter() - started
        return [(image, current, seconds, len(images)) for image in derained]


class Door:
    """HTTP: the page, the state, the counters, pictures."""

    def __init__(self, derainer: Any, limits: Limits, model: str, version: str) -> None:
        self.derainer, self.limits = derainer, limits
        self.meters, self.page = Meters(), PAGE.read_bytes()
        self.policy = policy(self.page.decode())
        self.model, self.version, self.problem = model, version, ""
        self.meters.registry_up.set(1)
        self.meters.served(model, version)

    async def __call__(self, request: Request) -> Response:
        """The answer to any request."""
        path = request.url.path
        try:
            if path not in PATHS:
                raise Refusal(404, f"nothing is here; there are {', '.join(PATHS)}")
            if request.method not in PATHS[path]:
                raise Refusal(405, f"{request.method}: {path} takes {', '.join(PATHS[path])}")
            response = await self._answer(path, request)
        except Refusal as refusal:
            response = refusal.response()
        self.meters.requests.labels(path if path in PATHS else "other", str(response.status_code)).inc()
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _answer(self, path: str, request: Request) -> Response:
        if path == "/derain":
            return await self._derain(request)
        if path == "/":
            return Response(self.page, headers={"Content-Security-Policy": self.policy}, media_type="text/html; charset=utf-8")
        replicas = await asyncio.to_thread(running)
        if path == "/metrics":
            self.meters.replicas.set(replicas)
            return Response(self.meters.text(), media_type=TYPE)
        state = {"status": "ok" if replicas else "no replica", "model": self.model, "version": self.version}
        return JSONResponse({**state, "replicas": replicas, "registry": self.problem or "ok"}, 200 if replicas else 503)

    async def _derain(self, request: Request) -> Response:
        body = await picture(request, self.limits)
        with self.meters.waiting.track_inprogress(), self.meters.seconds.time():
            try:
                answer: Answer = await self.derainer.derain.remote(body)
            except BackPressureError:
                raise Refusal(503, "too many pictures are waiting; try again in a moment") from None
        self._note(answer)
        if answer.status != 200:
            raise Refusal(answer.status, answer.data.decode())
        return Response(answer.data, headers=model_headers(answer), media_type="image/png")

    def _note(self, answer: Answer) -> None:
        self.problem = answer.problem
        self.meters.registry_up.set(not answer.problem)
        if (answer.model, answer.version) != (self.model, self.version):
            self.model, self.version = answer.model, answer.version
            self.meters.served(self.model, self.version)
        if answer.pixels:
            self.meters.pixels.inc(answer.pixels)
            self.meters.network.observe(answer.seconds)
            self.meters.together.observe(answer.together)


def model_headers(answer: Answer) -> dict[str, str]:
    """Which model made a picture."""
    return {"X-Model": answer.model, "X-Model-Version": answer.version, "Cache-Control": "no-store"}


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
    deployments = serve.status().applications[APP].deployments
    return int(deployments["Derainer"].replica_states.get("RUNNING", 0))


@contextmanager
def serving(plan: Plan, settings: Settings) -> Iterator[str]:
    """Serve for as long as the block lasts; gives the address. Raises RdmcError where that cannot be."""
    first = Followed(plan.model, settings, plan.cache).current  # a model that is not there is told of before Ray starts
    with cluster(settings):
        try:
            logging.getLogger("ray.serve").setLevel(logging.ERROR)
            quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
            serve.start(proxy_location="HeadOnly", http_options=http_options_of(plan), logging_config=quiet)
            serve.run(application(plan, settings, first.name, first.version), name=APP, logging_config=quiet)
        except (RuntimeError, OSError, ValueError) as error:
            raise ServiceError(f"Ray Serve did not start ({' '.join(str(error).split())[:300]}); mend that") from None
        try:
            yield f"http://{plan.host}:{plan.port}"
        finally:
            serve.shutdown()


def http_options_of(plan: Plan) -> dict[str, Any]:
    """Ray Serve's options of HTTP."""
    return {"host": plan.host, "port": plan.port, "request_timeout_s": 600.0, "keep_alive_timeout_s": 75}


def application(plan: Plan, settings: Settings, model: str, version: str) -> Any:
    """The door and the derainers behind it, one to ``RDMC_WORKERS`` of them, each with a CPU or a GPU of its own."""
    most, gpu = workers(settings), on_gpu(settings)
    threads = max(1, (os.cpu_count() or 1) // most)
    device = str(best_device()) if gpu else "cpu"
    derainer = serve.deployment(
        Derainer,
        name="Derainer",
        max_ongoing_requests=plan.batch + 1,  # the next is decoded while one is derained
        max_queued_requests=plan.queue,
        ray_actor_options={"num_gpus": 1} if gpu else {"num_cpus": 1},
        autoscaling_config=AutoscalingConfig(
            min_replicas=1,
            max_replicas=most,
            target_ongoing_requests=plan.batch,
            upscale_delay_s=1.0,
            downscale_delay_s=60.0,
            look_back_period_s=4.0,
            metrics_interval_s=1.0,
        ),
    )
    door = serve.deployment(Door, name="Door", max_ongoing_requests=plan.queue + 64, ray_actor_options={"num_cpus": 0})
    return door.bind(derainer.bind(plan, settings, _tracking_uri(settings), threads, device), plan.limits, model, version)


def _tracking_uri(settings: Settings) -> str:
    """Where MLflow is, for processes that stand in another folder."""
    path = sqlite_path(settings.tracking_uri)
    return f"sqlite:///{path.resolve()}" if path else settings.tracking_uri
