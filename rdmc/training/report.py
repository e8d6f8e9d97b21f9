"""What a training says of itself every few steps: its figures, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rdmc.data.batches import Batch

OWN = (
    "epoch", "loss", "lr", "images_per_second", "step_seconds", "data_seconds", "validation_seconds", "pause_seconds",
)  # fmt: skip
"""The figures of every report."""


@dataclass(frozen=True)
class Report:
    """The state of a run. The figures cover all ranks and are equal on each; the seconds are those of one rank."""

    step: int
    epoch: float
    loss: float
    """Mean loss since the last report."""
    terms: dict[str, float]
    """Means of the loss's terms since the last report, by their names in ``Objective.forward``."""
    lr: float
    images_per_second: float
    """Crops per second since the last report, of all ranks: steps and waits for data, not validations."""
    step_seconds: float
    """Seconds since the last report, of steps and waits for data; validations and what the caller does do not count. Those of
    the first report include the start of the loaders, and compiling and recording on a GPU."""
    data_seconds: float
    """Those of ``step_seconds`` in which the run waited for a batch."""
    validation_seconds: float
    """Seconds of this report's validation."""
    pause_seconds: float
    """Seconds that the caller took after the last report, for instance to save a checkpoint."""
    saves: bool
    """Whether to save a checkpoint at this step: at every validation and at the last step."""
    validation: dict[str, float] | None
    """psnr_y (dB) and ssim_y of the averaged weights over the validation images; None between validations."""

    def flat(self) -> dict[str, float]:
        """Return plain numbers by name, for trackers and tables."""
        own = {name: float(getattr(self, name)) for name in OWN}
        return {"step": self.step, **own, **self.terms, **(self.validation or {})}


class Clock:
    """Measures the seconds of a run since its last report."""

    def __init__(self) -> None:
        self.step = self.data = self.validation = self.pause = 0.0
        self._started = time.perf_counter()

    def start(self) -> None:
        """Begin with the steps of the next report."""
        self._started, self.data, self.validation = time.perf_counter(), 0.0, 0.0

    def waits(self, stream: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of ``stream`` and count the waits for them."""
        batches = iter(stream)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.data += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def stop(self) -> None:
        """End the steps of a report."""
        self.step = time.perf_counter() - self._started

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Count the block as the report's validation."""
        began = time.perf_counter()
        yield
        self.validation = time.perf_counter() - began

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Count the block as the caller's time with a report; it belongs to the next one."""
        began = time.perf_counter()
        yield
        self.pause = time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        """Return the seconds as ``Report`` names them."""
        return {f"{name}_seconds": getattr(self, name) for name in ("step", "data", "validation", "pause")}
