"""What a run measures between two reports, kept on its device: the host reads it at a report and never waits in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class NotFinite:
    """The first value of a run that was not finite."""

    what: str
    value: float
    step: int
    keys: Sequence[str]
    """The samples of that step on this rank."""

    def __str__(self) -> str:
        return (
            f"{self.what} {self.value} at step {self.step} on {', '.join(self.keys)}: it must be finite; "
            "lower train.lr, or look at those samples"
        )


LOSSES = ("loss", "held-out loss")
"""What only the rank whose samples are at fault finds not finite; a gradient is a mean over all ranks."""


class Meter:
    """Sums of the terms since the last report, and whether each checked value of every step was finite.

    All tensors keep their memory for the whole run, so a recorded graph of a step can write to them.
    """

    def __init__(self, device: torch.device) -> None:
        self.step = torch.zeros((), dtype=torch.float64, device=device)
        """The current step."""
        self.found_inf = torch.zeros((), device=device)
        """1 from the first value on that was not finite, else 0. No step after it may change a weight."""
        self._sums: dict[str, Tensor] = {}
        self._first: dict[str, Tensor] = {}
        """The step and the value of the first fault of each checked value; the step is -1 as long as there is none."""
        self._keys: dict[int, Sequence[str]] = {}
        """The samples of each step since the last report."""

    def begin(self, step: int, keys: Sequence[str]) -> None:
        """Note the samples of a step that begins."""
        self.step.fill_(step)
        self._keys[step] = keys

    def check(self, what: str, value: Tensor) -> None:
        """Note it if a scalar is not finite."""
        if what not in self._first:
            self._first[what] = torch.full((2,), -1.0, dtype=torch.float64, device=value.device)
        seen = self._first[what]
        faulty = ~torch.isfinite(value.detach())
        new = faulty & (seen[0] < 0)
        seen.copy_(torch.where(new, torch.stack([self.step, value.detach().double()]), seen))
        self.found_inf.copy_(torch.maximum(self.found_inf, faulty.float()))

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Add a step's scalar terms to the sums."""
        for name, term in terms.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(self.step)
            self._sums[name].add_(term.detach())

    def read(self) -> tuple[dict[str, float], int, NotFinite | None]:
        """Return the sums and the number of steps since the last call, and the run's first fault. Wait for the device."""
        tensors = [*self._sums.values(), *self._first.values()]
        values = torch.cat([tensor.flatten() for tensor in tensors]).tolist()
        sums = dict(zip(self._sums, values, strict=False))
        found = values[len(sums) :]
        faults = [(found[2 * i], i, what, found[2 * i + 1]) for i, what in enumerate(self._first) if found[2 * i] >= 0]
        fault = None
        if faults:
            step, _, what, value = min(faults)
            fault = NotFinite(what, value, int(step), self._keys.get(int(step), ()))
        count = len(self._keys)
        self._keys.clear()
        for tensor in self._sums.values():
            tensor.zero_()
        return sums, count, fault


def first_fault(own: NotFinite | None, world: int) -> NotFinite:
    """Return the earliest fault of all ranks, the loss before the gradient that it spoils. At least one rank has a fault."""
    found: list[NotFinite | None] = [own]
    if world > 1:
        found = [None] * world
        distributed.all_gather_object(found, own)
    return min((fault for fault in found if fault), key=lambda fault: (fault.step, fault.what not in LOSSES))
