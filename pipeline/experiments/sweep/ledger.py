"""The ledger of a sweep: every trial, what was chosen for it, what it reported, how it ended, and its MLflow run.

It is all that a sweep knows: the searcher and the early stopping decide from it alone, so a sweep that was killed goes on
from it as if nothing had happened (docs/decisions/0011). It lies beside the trials' checkpoints, replaced as a whole.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.experiments.sweep.lock import driver_of
from pipeline.storage.runs import RunFiles, run_files
from pipeline.training.worker import Row
from rdmc.errors import CheckpointError, ConfigError

LEDGER = "ledger.json"
PREFIX = "tune-"
TrialState = Literal["running", "waiting", "finished", "stopped early", "failed"]
"""``waiting``: a member of a population between two stretches. The last three are final."""
OPEN = ("running", "waiting")


@dataclass
class SweepTrial:
    """One trial."""

    number: int
    chosen: dict[str, Any]
    """The searched params and their values."""
    gflop: float | None = None
    """Cost of one image, where it is an objective."""
    state: TrialState = "running"
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
    code: str
    """Digest of the code that trains."""
    place: RunFiles
    trials: list[SweepTrial] = field(default_factory=list)
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
        told = {"params": self.params, "data": self.data, "code": self.code, "run_id": self.run_id, "elapsed": self.elapsed}
        self.place.write(LEDGER, json.dumps({**told, "trials": [asdict(entry) for entry in self.trials]}))


def read_ledger(place: RunFiles, name: str) -> Ledger:
    """The ledger in a folder. Raises CheckpointError where it is damaged or absent."""
    try:
        told = json.loads(place.read(LEDGER) or "null")
        trials = [SweepTrial(**entry) for entry in told["trials"]]
        return Ledger(
            name, dict(told["params"]), str(told["data"]), str(told["code"]), place, trials, told["run_id"],
            float(told["elapsed"]), resumed=True,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place.path}/{LEDGER}: {error}; delete that folder and start the sweep anew") from None


def unfinished(project: Project[Params]) -> list[str]:
    """The names of the sweeps that were stopped and that nobody drives, the newest last: what ends well is deleted."""
    place = run_files(project)
    names = [name for name in place.folders() if name.startswith(PREFIX) and place.within(name).read(LEDGER)]
    return [name for name in names if not driver_of(place.within(name))]


def stopped(project: Project[Params], name: str = "") -> Ledger:
    """The sweep of that name, or the newest, that was stopped.

    Raises ConfigError where there is none, CheckpointError for a damaged one.
    """
    names = unfinished(project)
    if name and name not in names:
        raise ConfigError(f"--sweep: {name} is no sweep that was stopped ({', '.join(names) or 'there is none'}); name another")
    if not names:
        place = run_files(project).path
        raise ConfigError(f"--resume: no sweep was stopped in {place}; start one with `python -m pipeline tune`")
    chosen = name or names[-1]
    return read_ledger(run_files(project, chosen), chosen)


def check_same(ledger: Ledger, params: dict[str, Any], data: str, code: str) -> None:
    """Refuse to go on with other params than a sweep began with; how much it may cost and what is not trained may change.

    Raises ConfigError that names the first param that differs, or says that data or code do.
    """
    for what, before, after in (("on other training data", ledger.data, data), ("with other code", ledger.code, code)):
        if before != after:
            raise ConfigError(f"--resume: {ledger.name} was searched {what}; restore that or start a new sweep")
    free = {"trials", "seconds", "total_steps", "concurrent"}
    if params["tune"]["algorithm"] == "pbt":
        free -= {"trials"}  # whoever came late would find no checkpoints of its age to learn from
    for part in ("seed", "datasets", "network", "loss", "train", "tune"):
        then, now = ledger.params.get(part), params.get(part)
        if part == "tune" and isinstance(then, dict) and isinstance(now, dict):
            then, now = ({key: value for key, value in told.items() if key not in free} for told in (then, now))
        if then != now:
            where = part
            if isinstance(then, dict) and isinstance(now, dict):
                where += "." + next(key for key in {**then, **now} if then.get(key) != now.get(key))
            raise ConfigError(f"--resume: {where} is not what {ledger.name} began with; put it back or start a new sweep")
