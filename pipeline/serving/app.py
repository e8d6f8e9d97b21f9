"""A model over HTTP by Ray Serve: a picture in, a PNG out.

``Ingress`` (pipeline/serving/ingress.py) speaks HTTP; of ``Derainer`` (pipeline/serving/replica.py) there are as many as the load asks for. On a
Ray that others use, only what is our own is begun and ended.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
"""Pictures that wait at a replica: Ray asks one that is full again and again, which cost a tenth of a core."""
OTHERS = 64
"""Requests that may be inside beside pictures: the page, the state, the counters, refusals."""
LOOK_SECONDS = 5.0
"""Between two looks at whether all of it still lives."""
ANSWER_SECONDS = 30.0
"""How long a Ray that is busy may take to say so."""


@dataclass(frozen=True)
class Serving:
    """What is being served."""

    address: str
    problem: str
    """Why the model is the last that was kept and not what the registry has now; empty where it is."""

    def watch(self) -> None:
        """Wait for ever, or until Ray or the application has ended, which raises ServiceError."""
        while True:
            time.sleep(LOOK_SECONDS)
            answers: queue.Queue[str] = queue.Queue()  # in a thread, for a Ray that has ended does not always say so
            threading.Thread(target=lambda box=answers: box.put(_problem()), daemon=True).start()
            try:
                problem = answers.get(timeout=ANSWER_SECONDS)
            except queue.Empty:
                problem = f"Ray does not answer within {ANSWER_SECONDS:g} s"
            if problem:
                raise ServiceError(f"{problem}; serve again")


@contextmanager
def serving(plan: ServingConfig, settings: Settings) -> Iterator[Serving]:
    """Serve for as long as the block lasts. Raises RdmcError where that cannot be."""
    first = FollowedModel(plan.model, settings, plan.cache)  # a model that is not there is told of before Ray starts
    state = ModelStatus(first.current.name, first.current.version, first.problem)
    with cluster(settings):
        _end_by_sigterm()
        require_resources(settings)
        if not own_ray(settings):
            check_shared(plan)
        try:
            _start(plan, settings, state)
            yield Serving(address_of(plan), state.problem)
        finally:
            with suppress(RayError, RayServeException, RuntimeError):  # of a Ray that has ended
                if own_ray(settings):
                    serve.shutdown()
                else:
                    serve.delete(APP)


def address_of(plan: ServingConfig) -> str:
    """Where the server is, as a URL."""
    host = f"[{plan.host}]" if ":" in plan.host else plan.host
    return f"http://{host}:{plan.port}"


def check_shared(plan: ServingConfig) -> None:
    """Raise ServiceError where the Ray in use serves already in a way that leaves no room for ``plan``."""
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    there, cure = client.http_config, "or set RDMC_RAY_ADDRESS=local"
    if (there.host, there.port) != (plan.host, plan.port):
        said = f"this Ray serves at {there.host}:{there.port} already, for all its applications"
        raise ServiceError(f"{plan.host}:{plan.port}: {said}; take --host {there.host} --port {there.port}, {cure}")
    if APP in serve.status().applications:
        raise ServiceError(f"this Ray serves an application {APP!r} already; end that one, {cure}")


def _start(plan: ServingConfig, settings: Settings, state: ModelStatus) -> None:
    try:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
        serve.start(proxy_location="HeadOnly", http_options=http_options_of(plan), logging_config=quiet)
        serve.run(application(plan, settings, state), name=APP, logging_config=quiet)
    except (RuntimeError, OSError, ValueError, RayError, RayServeException) as error:
        raise ServiceError(f"Ray Serve did not start ({one_line(error)}); mend that") from None


def http_options_of(plan: ServingConfig) -> dict[str, Any]:
    """Ray Serve's options of HTTP; its own time limit only ends what the door has not."""
    longest = 2 * plan.timeout + plan.limits.seconds + 30  # a picture may be asked for twice
    return {"host": plan.host, "port": plan.port, "request_timeout_s": longest, "keep_alive_timeout_s": 75}


def application(plan: ServingConfig, settings: Settings, state: ModelStatus) -> Any:
    """The door and the derainers behind it, one to ``RDMC_WORKERS`` of them, each with a CPU or its part of a GPU."""
    most, ongoing = workers(settings), plan.batch + AHEAD
    derainer = serve.deployment(
        Derainer,
        name="Derainer",
        max_ongoing_requests=ongoing,
        max_queued_requests=plan.queue,
        health_check_period_s=2.0,  # one that has died is replaced this soon
        ray_actor_options={f"num_{kind.lower()}s": each for kind, each in share(settings).items()},
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
    places = plan.queue + most * ongoing
    door = serve.deployment(Ingress, name="Door", max_ongoing_requests=places + OTHERS, ray_actor_options={"num_cpus": 0})
    return door.bind(derainer.bind(plan, settings, tracking_uri(settings), most, on_gpu(settings)), plan, state, places)


def _problem() -> str:
    try:
        if not any(node["Alive"] for node in ray.nodes()):
            return "Ray has ended"
        return "" if APP in serve.status().applications else f"the application {APP!r} was ended from elsewhere"
    except (RayError, RayServeException, RuntimeError, OSError) as error:
        return f"Ray has ended ({one_line(error)})"


def _end_by_sigterm() -> None:
    """SIGTERM as Ctrl-C, at any moment; Ray puts a handler of its own there when it starts."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
