"""``clean``: delete what stopped trainings, searches, sweeps and ablations left in Ray's storage, in the bucket or on disk.

With ``--results`` it also deletes the results of finished trainings in the bucket, which jobs keep there.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.console import say, table
from pipeline.storage.lease import holder
from pipeline.storage.results import results_place
from pipeline.storage.runs import RunFiles, log_file, run_files

NAME = re.compile(r"(train|search|tune|ablate)-\S+")
"""The names of runs. Beside them are folders that users named, such as those of profiles."""
DAY = 24 * 3600.0


@dataclass(frozen=True)
class Leftover:
    """The folder of a stopped run, or of a training's results."""

    name: str
    bytes: int
    age: float
    """Days since the last write."""


def run(project: Project[Recipe], days: float, delete: bool, results: bool = False) -> None:
    """List the folders of stopped runs in which nothing was written for ``days``, and delete them if ``delete`` says so.

    A run that a process holds is left alone, with the folders of its trials. With ``results`` the same is done to the results
    of trainings in the bucket. Raises ServiceError where the storage fails, ConfigError for results without a bucket.
    """
    kept = results_place(project) if results else None  # before anything is deleted
    _clean(run_files(project), days, delete, "stopped run", "")
    if kept:
        _clean(kept, days, delete, "result", " --results")


def _clean(place: RunFiles, days: float, delete: bool, what: str, option: str) -> None:
    """List the old folders of one kind in ``place``, and delete them if ``delete`` says so."""
    found = leftovers(place, days)
    if not found:
        say(f"nothing to clean: {place.path} has no {what} that is older than {days:g} days")
        return
    lines = [[one.name, f"{one.age:.1f}", f"{one.bytes / 1e6:.1f}"] for one in found]
    table(f"{what}s in {place.path}", ["run", "days", "MB"], lines)
    if not delete:
        say(f"nothing was deleted; `python -m pipeline clean --older-than {days:g}{option} --yes` deletes these {len(found)}")
        return
    for one in found:
        place.within(one.name).remove()
        place.drop(log_file(one.name))  # the history of what is gone
    say(f"deleted {len(found)} of them, {sum(one.bytes for one in found) / 1e6:.1f} MB")


def leftovers(place: RunFiles, days: float) -> list[Leftover]:
    """The folders of stopped runs, or of results, in ``place`` whose last write is older than ``days``, by name."""
    names = [name for name in place.folders() if NAME.fullmatch(name)]
    held = [name for name in names if holder(place.within(name)) or holder(place, f"{name}.lease")]
    found = []
    for name in names:
        if any(name == other or name.startswith(f"{other}-") for other in held):
            continue
        size, last = place.within(name).size_and_last_write()
        age = (time.time() - last) / DAY
        if age > days:
            found.append(Leftover(name, size, age))
    return found
