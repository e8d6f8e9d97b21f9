"""The figures of a running training for Prometheus, which reads them from the driver by HTTP.

``RDMC_METRICS`` names the address, such as ``127.0.0.1:8001``. Without it nothing is served. Ray has metrics of its own, of
processes and machines; these are of the training itself. infra/monitoring/ has a dashboard of both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from pipeline.config.settings import Settings
from pipeline.console import say
from rdmc.errors import one_line

PARTS = ("step", "data", "validation", "pause")
"""What a report's seconds are of, by the beginning of their name (rdmc/training/report.py)."""
CAUSES = ("failure", "preemption")
"""Why workers are started again."""


class TrainingMetrics:
    """The metrics of one training. Call it with each report."""

    def __init__(self, name: str, steps: int, batch: int) -> None:
        self.registry = CollectorRegistry()
        self.batch, self.furthest = batch, 0
        options: dict[str, Any] = {"registry": self.registry}
        self.info = Gauge("rdmc_training_info", "Always 1. The label names the training.", ["run"], **options)
        self.info.labels(name).set(1)
        self.steps = Gauge("rdmc_training_steps", "Steps that the training takes in all.", **options)
        self.steps.set(steps)
        self.step = Gauge("rdmc_training_step", "Steps that are done.", **options)
        self.loss = Gauge("rdmc_training_loss", "Mean loss since the last report.", **options)
        self.psnr = Gauge("rdmc_training_psnr_y", "PSNR of the luma at the last validation, in dB.", **options)
        self.rate = Gauge("rdmc_training_images_per_second", "Crops per second since the last report.", **options)
        self.each = Gauge("rdmc_training_step_seconds", "Mean seconds of a step since the last report, with waits.", **options)
        self.images = Counter("rdmc_training_images", "Crops that this process has seen trained on.", **options)
        self.seconds = Counter(
            "rdmc_training_seconds",
            "Seconds by what they were spent on: step (data is a part of it), data, validation, pause (checkpoints, reports).",
            ["part"],
            **options,
        )
        self.repeated = Counter("rdmc_training_repeated_steps", "Steps taken again after a restart of workers.", **options)
        self.restarts = Counter(
            "rdmc_training_restarts",
            "Restarts of the workers, by cause: failure (a worker died or failed), preemption (its node was taken away).",
            ["cause"],
            **options,
        )
        for cause in CAUSES:
            self.restarts.labels(cause)
        for part in PARTS:
            self.seconds.labels(part)
        for unknown in (self.loss, self.psnr, self.rate, self.each):
            unknown.set(math.nan)  # until there is a figure; a 0 would be drawn as one

    def restarted(self, cause: str) -> None:
        """Count a restart of the workers; ``cause`` is one of ``CAUSES``."""
        self.restarts.labels(cause).inc()

    def __call__(self, row: Mapping[str, float]) -> None:
        """Take over the figures of a report (``rdmc.training.report.Report.flat``)."""
        step, images = int(row["step"]), row["step_seconds"] * row["images_per_second"]
        begun = step - round(images / self.batch)  # the step before the first one of this report
        self.repeated.inc(max(0, min(step, self.furthest) - begun))
        self.furthest = max(self.furthest, step)
        self.step.set(step)
        self.loss.set(row["loss"])
        self.rate.set(row["images_per_second"])
        self.images.inc(images)
        self.each.set(self.batch / max(row["images_per_second"], 1e-9))
        if "psnr_y" in row:
            self.psnr.set(row["psnr_y"])
        for part in PARTS:
            self.seconds.labels(part).inc(row.get(f"{part}_seconds", 0.0))


@contextmanager
def exposed(metrics: TrainingMetrics, settings: Settings) -> Iterator[None]:
    """Serve ``metrics`` at the address of the settings while the block runs. A port that is taken is said and ends nothing."""
    if not settings.metrics:
        yield
        return
    host, _, port = settings.metrics.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host, metrics.registry)
    except OSError as error:
        say(f"RDMC_METRICS: {settings.metrics}: {one_line(error)}; the training goes on without it, name a free port")
        yield
        return
    say(f"metrics for Prometheus: http://{settings.metrics}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
