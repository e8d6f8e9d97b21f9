"""Serve a model over HTTP with Ray Serve: an image in, a PNG out.

One ``Ingress`` (ingress.py) answers HTTP, and as many replicas of ``Derainer`` (replica.py) run as the load needs. On a shared
Ray, only this server's own application is started and ended.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import AutoscalingConfig
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import LoggingConfig

from pipeline.cluster import cluster, on_gpu, own_ray, require_resources, share, workers
from pipeline.config.settings import Settings
from pipeline.serving.ingress import APP, Ingress
from pipeline.serving.model_loader import FollowedModel, tracking_uri
from pipeline.serving.replica import Derainer
from pipeline.serving.types import ModelStatus, ServingConfig
from rdmc.errors import ServiceError, one_line

AHEAD = 8
"""Images that may wait at a replica. Ray polls a full replica again and again, which cost a tenth of a core."""
OTHERS = 64
"""Requests that may be in progress besides images: the page, the health check, the metrics, refusals."""
LOOK_SECONDS = 5.0
"""Seconds between two checks that Ray and the application are alive."""
ANSWER_SECONDS = 30.0
"""Seconds that a busy Ray may take to answer such a check."""


@dataclass(frozen=True)
class Serving:
    """A running server."""

    address: str
    model: ModelStatus
    """The model at the start. Its ``problem`` says why it is the last cached one, if the registry could not be asked."""

    def watch(self) -> None:
        """Wait for ever. Raises ServiceError if Ray or the application ends."""
        while True:
            time.sleep(LOOK_SECONDS)
            answers: queue.Queue[str] = queue.Queue()  # in a thread, because a call to a Ray that has ended may hang
            threading.Thread(target=lambda box=answers: box.put(_problem()), daemon=True).start()
            try:
                problem = answers.get(timeout=ANSWER_SECONDS)
            except queue.Empty:
                problem = f"Ray does not answer within {ANSWER_SECONDS:g} s"
            if problem:
                raise ServiceError(f"{problem}; serve again")


@contextmanager
def serving(config: ServingConfig, settings: Settings) -> Iterator[Serving]:
    """Serve until the block ends. Raises RdmcError if the server cannot start."""
    first = FollowedModel(config.model, settings, config.cache)  # a missing model is reported before Ray starts
    model = ModelStatus(first.current.name, first.current.version, first.problem)
    with ExitStack() as ending, cluster(settings):
        require_resources(settings)
        if not own_ray(settings):
            check_shared(config)
        try:
            _start(config, settings, model)
            yield Serving(address_of(config), model)
        finally:
            ending.enter_context(redirect_stdout(StringIO()))  # until Ray ends: it prints there that its own actors do
            with suppress(RayError, RayServeException, RuntimeError):  # Ray may have ended
                if own_ray(settings):
                    serve.shutdown()
                else:
                    serve.delete(APP)


def address_of(config: ServingConfig) -> str:
    """The server's address as a URL."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


def check_shared(config: ServingConfig) -> None:
    """Raise ServiceError if the Ray in use already serves with another address or an application of the same name."""
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    options, cure = client.http_config, "or set RDMC_RAY_ADDRESS=local"
    if (options.host, options.port) != (config.host, config.port):
        reason = f"this Ray serves at {options.host}:{options.port} already, for all its applications"
        raise ServiceError(f"{config.host}:{config.port}: {reason}; take --host {options.host} --port {options.port}, {cure}")
    if APP in serve.status().applications:
        raise ServiceError(f"this Ray serves an application {APP!r} already; end that one, {cure}")


def _start(config: ServingConfig, settings: Settings, model: ModelStatus) -> None:
    try:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
        serve.start(proxy_location="HeadOnly", http_options=http_options_of(config), logging_config=quiet)
        serve.run(application(config, settings, model), name=APP, logging_config=quiet)
    except (RuntimeError, OSError, ValueError, RayError, RayServeException) as error:
        raise ServiceError(f"Ray Serve did not start ({one_line(error)}); fix that") from None


def http_options_of(config: ServingConfig) -> dict[str, Any]:
    """Ray Serve's HTTP options. Its time limit only ends requests that ``Ingress`` has not ended itself."""
    longest = 2 * config.timeout + config.limits.seconds + 30  # a replica may be asked for an image twice
    return {"host": config.host, "port": config.port, "request_timeout_s": longest, "keep_alive_timeout_s": 75}


def application(config: ServingConfig, settings: Settings, model: ModelStatus) -> Any:
    """``Ingress`` and, behind it, one to ``RDMC_WORKERS`` replicas of ``Derainer``, each with a CPU or its share of a GPU."""
    most, ongoing = workers(settings), config.batch + AHEAD
    derainer = serve.deployment(
        Derainer,
        name="Derainer",
        max_ongoing_requests=ongoing,
        max_queued_requests=config.queue,
        health_check_period_s=2.0,  # a replica that has died is replaced this soon
        ray_actor_options={f"num_{kind.lower()}s": each for kind, each in share(settings).items()},
        autoscaling_config=AutoscalingConfig(
            min_replicas=1,
            max_replicas=most,
            target_ongoing_requests=config.batch,
            upscale_delay_s=1.0,
            downscale_delay_s=60.0,
            look_back_period_s=4.0,
            metrics_interval_s=1.0,
        ),
    )
    capacity = config.queue + most * ongoing
    ingress = serve.deployment(
        Ingress, name="Ingress", max_ongoing_requests=capacity + OTHERS, ray_actor_options={"num_cpus": 0}
    )
    replicas = derainer.bind(config, settings, tracking_uri(settings), most, on_gpu(settings))
    return ingress.bind(replicas, config, model, capacity)


def _problem() -> str:
    """Why the server has ended; empty while it runs."""
    try:
        if not any(node["Alive"] for node in ray.nodes()):
            return "Ray has ended"
        return "" if APP in serve.status().applications else f"the application {APP!r} was ended from elsewhere"
    except (RayError, RayServeException, RuntimeError, OSError) as error:
        return f"Ray has ended ({one_line(error)})"
