"""The ledger of a sweep: every trial, what was chosen for it, what it reported, how it ended, and its MLflow run.

It is all that a sweep knows: the searcher and the early stopping decide from it alone, so a sweep that was killed goes on
from it as if nothing had happened (docs/decisions/0011). It lies beside the trials' checkpoints, replaced as a whole.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.kept import Kept, kept
from pipeline.settings import Settings
from pipeline.worker import Row
from pipeline.workspace import Workspace
from rdmc.errors import CheckpointError, ConfigError

LEDGER = "ledger.json"
PREFIX = "tune-"
State = Literal["running", "waiting", "finished", "stopped early", "failed"]
"""``waiting``: a member of a population between two stretches. The last three are final."""
OPEN = ("running", "waiting")


@dataclass
class Entry:
    """One trial."""

    number: int
    chosen: dict[str, Any]
    """The searched params and their values."""
    gflop: float | None = None
    """Cost of one image, where it is an objective."""
    state: State = "running"
    cause: str = ""
    """What it failed of."""
    rows: list[Row] = field(default_factory=list)
    """Its validations, by step."""
    begun: int = 0
    """Of a population's member: the step at which its stretch begins,"""
    until: int = 0
    """at which it ends (0: the last one of the recipe),"""
    generation: int = 0
    """how often it took over the weights of another one,"""
    parent: int | None = None
    """and of which one last."""
    run_id: str | None = None
    """Its MLflow run."""
    closed: bool = False
    """Whether that has been ended."""

    @property
    def step(self) -> int:
        """The last step that it reported."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def score(self) -> float | None:
        """The last validation PSNR-Y, in dB."""
        return self.rows[-1]["psnr_y"] if self.rows else None

    def note(self, row: Row) -> None:
        """Take a validation in; one of a step that was there, or of a later one, takes the place of those."""
        self.rows = [*(known for known in self.rows if known["step"] < row["step"]), row]


@dataclass
class Ledger:
    """All trials of a sweep."""

    name: str
    params: dict[str, Any]
    """params.yaml as the sweep began with it."""
    data: str
    """Digest of the training data."""
    place: Kept
    trials: list[Entry] = field(default_factory=list)
    run_id: str | None = None
    """The parent run in MLflow."""
    earlier: float = 0.0
    """Seconds of the sittings before this one."""
    resumed: bool = False
    """Whether there were any."""
    opened: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds that the sweep has taken, in all its sittings."""
        return self.earlier + time.monotonic() - self.opened

    @property
    def steps(self) -> int:
        """Optimiser steps that all trials reported."""
        return sum(entry.step for entry in self.trials)

    def save(self) -> None:
        """Write it. Raises ServiceError."""
        told = {"params": self.params, "data": self.data, "run_id": self.run_id, "elapsed": self.elapsed}
        self.place.write(LEDGER, json.dumps({**told, "trials": [asdict(entry) for entry in self.trials]}))


def read_ledger(place: Kept, name: str) -> Ledger:
    """The ledger in a folder. Raises CheckpointError where it is damaged or absent."""
    try:
        told = json.loads(place.read(LEDGER) or "null")
        trials = [Entry(**entry) for entry in told["trials"]]
        return Ledger(
            name, dict(told["params"]), str(told["data"]), place, trials, told["run_id"], float(told["elapsed"]), resumed=True
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place.path}/{LEDGER}: {error}; delete that folder and start the sweep anew") from None


def unfinished(settings: Settings, workspace: Workspace) -> list[str]:
    """The names of the sweeps that were stopped, the newest last: what ends well is deleted."""
    place = kept(settings, workspace)
    return [name for name in place.folders() if name.startswith(PREFIX) and place.within(name).read(LEDGER)]


def last_unfinished(settings: Settings, workspace: Workspace) -> Ledger:
    """The newest sweep that was stopped. Raises ConfigError where there is none, CheckpointError for a damaged one."""
    names = unfinished(settings, workspace)
    if not names:
        place = kept(settings, workspace).path
        raise ConfigError(f"--resume: no sweep was stopped in {place}; start one with `python -m pipeline tune`")
    return read_ledger(kept(settings, workspace, names[-1]), names[-1])


def check_same(ledger: Ledger, params: dict[str, Any], data: str) -> None:
    """Refuse to go on with other params than a sweep began with; how much it may cost and what is not trained may change.

    Raises ConfigError that names the first param that differs.
    """
    if ledger.data != data:
        raise ConfigError(f"--resume: {ledger.name} was searched on other training data; restore them or start a new sweep")
    free = {"trials", "seconds", "total_steps", "concurrent"}
    for part in ("seed", "datasets", "network", "loss", "train", "tune"):
        then, now = ledger.params.get(part), params.get(part)
        if part == "tune" and isinstance(then, dict) and isinstance(now, dict):
            then, now = ({key: value for key, value in told.items() if key not in free} for told in (then, now))
        if then != now:
            where = part
            if isinstance(then, dict) and isinstance(now, dict):
                where += "." + next(key for key in {**then, **now} if then.get(key) != now.get(key))
            raise ConfigError(f"--resume: {where} is not what {ledger.name} began with; put it back or start a new sweep")
