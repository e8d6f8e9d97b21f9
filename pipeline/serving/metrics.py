"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60, 180)
TOGETHER = (1, 2, 4, 8, 16, 32)


class ServingMetrics:
    """Counters of one process; ``text`` is all of them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("rdmc_requests", "Requests answered, by path and status.", ["path", "status"], **of)
        self.seconds = Histogram("rdmc_request_seconds", "From a picture's request to its answer.", buckets=SECONDS, **of)
        self.network = Histogram(
            "rdmc_network_seconds", "Of the network, for the pictures of one batch.", buckets=SECONDS, **of
        )
        self.together = Histogram("rdmc_batch_pictures", "Pictures that were derained at once.", buckets=TOGETHER, **of)
        self.pixels = Counter("rdmc_pixels", "Pixels derained.", **of)
        self.waiting = Gauge("rdmc_requests_waiting", "Pictures that have come and are not answered.", **of)
        self.replicas = Gauge("rdmc_replicas", "Processes that derain.", **of)
        self.registry_up = Gauge("rdmc_registry_up", "1 where MLflow could be asked for the alias the last time.", **of)
        self.model = Gauge("rdmc_model_info", "1 for the model of the last answer.", ["model", "version"], **of)

    def served(self, model: str, version: str) -> None:
        """The model of the last answer."""
        self.model.clear()
        self.model.labels(model, version).set(1)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)
