"""The metrics of a server, in the format that Prometheus reads."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60, 180)
TOGETHER = (1, 2, 4, 8, 16, 32)


class ServingMetrics:
    """The metrics of one process. ``text`` writes all of them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        options: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "rdmc_requests", "HTTP requests that were answered, by path and status.", ["path", "status"], **options
        )
        self.seconds = Histogram(
            "rdmc_request_seconds", "Seconds from the arrival of an image to its answer.", buckets=SECONDS, **options
        )
        self.network = Histogram(
            "rdmc_network_seconds", "Seconds that the network took for one batch of images.", buckets=SECONDS, **options
        )
        self.together = Histogram(
            "rdmc_batch_pictures", "Images that the network processed in one batch.", buckets=TOGETHER, **options
        )
        self.pixels = Counter("rdmc_pixels", "Pixels of all images that were derained.", **options)
        self.waiting = Gauge("rdmc_requests_waiting", "Image requests that are not answered yet.", **options)
        self.replicas = Gauge("rdmc_replicas", "Running processes that remove rain from images.", **options)
        self.registry_up = Gauge(
            "rdmc_registry_up", "1 if the last check for a new model version in MLflow succeeded, else 0.", **options
        )
        self.model = Gauge(
            "rdmc_model_info",
            "Always 1. The labels name the model and version of the last answer.",
            ["model", "version"],
            **options,
        )

    def served(self, model: str, version: str) -> None:
        """Set the model of the last answer."""
        self.model.clear()
        self.model.labels(model, version).set(1)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
