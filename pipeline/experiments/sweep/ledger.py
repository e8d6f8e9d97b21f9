"""The ledger of a sweep: every trial with its chosen params, its reports, its final state, and its MLflow run.

It is the sweep's whole state. The searcher and the early stopping decide from it alone, so a killed sweep resumes from it as
if it had not been interrupted (docs/decisions/0011). The file is next to the trials' checkpoints and is replaced as a whole.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.storage.lease import holder
from pipeline.storage.runs import RunFiles, run_files
from pipeline.training.worker import Row
from rdmc.errors import CheckpointError, ConfigError

LEDGER = "ledger.json"
PREFIX = "tune-"
TrialState = Literal["running", "waiting", "finished", "stopped early", "failed"]
"""``waiting``: a member of a population between two stretches. The last three are final."""
OPEN = ("running", "waiting")
"""The states that are not final."""


@dataclass
class SweepTrial:
    """One trial of a sweep."""

    number: int
    chosen: dict[str, Any]
    """The searched params and their values."""
    gflop: float | None = None
    """Cost of deraining one image, in GFLOP, where it is an objective."""
    state: TrialState = "running"
    cause: str = ""
    """Why it failed; empty where it did not."""
    rows: list[Row] = field(default_factory=list)
    """Its validations, by step."""
    begun: int = 0
    """For a population's member: the step at which its current stretch begins."""
    until: int = 0
    """For a population's member: the step at which its current stretch ends; 0 for the last step of the recipe."""
    generation: int = 0
    """For a population's member: how often it took over the weights of another one."""
    parent: int | None = None
    """For a population's member: the number of the trial whose weights it took over last."""
    run_id: str | None = None
    """Its MLflow run."""
    closed: bool = False
    """Whether the MLflow run has its final state."""

    @property
    def step(self) -> int:
        """The step of its last validation; 0 before the first."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def score(self) -> float | None:
        """The last validation PSNR-Y, in dB; None before the first."""
        return self.rows[-1]["psnr_y"] if self.rows else None

    def note(self, row: Row) -> None:
        """Add a validation. It replaces rows of the same step and of later ones."""
        self.rows = [*(known for known in self.rows if known["step"] < row["step"]), row]


@dataclass
class Ledger:
    """All trials of a sweep."""

    name: str
    params: dict[str, Any]
    """The content of params.yaml when the sweep started."""
    data: str
    """Digest of the training data."""
    code: str
    """Digest of the code that trains."""
    place: RunFiles
    """The folder with the ledger and the trials' checkpoints."""
    trials: list[SweepTrial] = field(default_factory=list)
    run_id: str | None = None
    """The parent run in MLflow."""
    earlier: float = 0.0
    """Seconds that the sweep took in earlier sessions."""
    resumed: bool = False
    """Whether there was an earlier session."""
    opened: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds that the sweep has taken in all its sessions."""
        return self.earlier + time.monotonic() - self.opened

    @property
    def steps(self) -> int:
        """Optimiser steps of all trials together, up to their last validations."""
        return sum(trial.step for trial in self.trials)

    def save(self) -> None:
        """Write the ledger to its folder. Raises ServiceError where the storage fails."""
        sweep = {"params": self.params, "data": self.data, "code": self.code, "run_id": self.run_id, "elapsed": self.elapsed}
        self.place.write(LEDGER, json.dumps({**sweep, "trials": [asdict(trial) for trial in self.trials]}))


def read_ledger(place: RunFiles, name: str) -> Ledger:
    """Read the ledger in a folder. Raises CheckpointError where it is damaged or absent."""
    try:
        sweep = json.loads(place.read(LEDGER) or "null")
        trials = [SweepTrial(**trial) for trial in sweep["trials"]]
        return Ledger(
            name, dict(sweep["params"]), str(sweep["data"]), str(sweep["code"]), place, trials, sweep["run_id"],
            float(sweep["elapsed"]), resumed=True,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place.path}/{LEDGER}: {error}; delete that folder and start a new sweep") from None


def unfinished(project: Project[Params]) -> list[str]:
    """The names of the stopped sweeps that no process runs, the newest last. A sweep that succeeds leaves no ledger."""
    place = run_files(project)
    names = [name for name in place.folders() if name.startswith(PREFIX) and place.within(name).read(LEDGER)]
    return [name for name in names if not holder(place.within(name))]


def stopped(project: Project[Params], name: str = "") -> Ledger:
    """The ledger of the stopped sweep ``name``, or of the newest stopped one.

    Raises ConfigError where there is no such sweep, CheckpointError for a damaged ledger.
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
    """Refuse to resume a sweep with other params than it started with; its bounds and params that no trial uses may change.

    Raises ConfigError that names the first param that differs, or says that data or code do.
    """
    for what, before, after in (("on other training data", ledger.data, data), ("with other code", ledger.code, code)):
        if before != after:
            raise ConfigError(f"--resume: {ledger.name} was searched {what}; restore that or start a new sweep")
    free = {"trials", "seconds", "total_steps", "concurrent"}
    if params["tune"]["algorithm"] == "pbt":
        free -= {"trials"}  # a late member would find no checkpoints of its own step to take over
    for part in ("seed", "datasets", "network", "loss", "train", "tune"):
        then, now = ledger.params.get(part), params.get(part)
        if part == "tune" and isinstance(then, dict) and isinstance(now, dict):
            then, now = ({key: value for key, value in rules.items() if key not in free} for rules in (then, now))
        if then != now:
            where = part
            if isinstance(then, dict) and isinstance(now, dict):
                where += "." + next(key for key in {**then, **now} if then.get(key) != now.get(key))
            raise ConfigError(f"--resume: {where} is not what {ledger.name} began with; put it back or start a new sweep")
