"""The driver's log of a launch, in Ray's storage beside its checkpoints. A stopped launch resumes with its history and its run.

It lies where the checkpoints lie, so a driver in another folder or on another host resumes the same MLflow run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.console import say
from pipeline.storage.runs import RunFiles, log_file
from pipeline.tracking.tracker import Tracker
from pipeline.training.checkpoints import reported
from pipeline.training.worker import Row
from rdmc.errors import CheckpointError, ServiceError

PAUSE = 10.0
"""Seconds between two copies of the log to the storage where no report with a validation comes."""


class RunLog:
    """The reports of a launch by step, with those from before it was stopped, and its MLflow run.

    The file holds a JSON object per line. It is written as a whole, because a bucket cannot append. Raises CheckpointError
    where it is damaged, ServiceError where the storage fails.
    """

    def __init__(self, place: RunFiles, name: str) -> None:
        self.place, self.name = place, name
        """The folder of the log, and the launch."""
        self.run_id, logged = recall(place, name)
        self.rows = reported(place.within(name)) | logged  # a killed driver may not have logged what its workers reported
        self.stepping = 0.0
        """Seconds in the training steps that this process followed."""
        self._written, self._failed = 0.0, False

    @contextmanager
    def following(self, tracker: Tracker, *show: Callable[[Row], None]) -> Iterator[Callable[[Row], None]]:
        """Yield a function to call with every report: it logs the report, calls ``show`` with it and sends it to MLflow.

        A storage that fails does not end the training: the log is written again with a later report.
        """

        def follow(row: Row) -> None:
            self.rows[int(row["step"])] = row
            self.stepping += row["step_seconds"]
            for one in show:
                one(row)
            tracker.log({key: value for key, value in row.items() if key != "step"}, int(row["step"]))
            known, self.run_id = self.run_id, tracker.run_id  # MLflow may have answered only now
            if "psnr_y" in row or known != self.run_id or time.monotonic() - self._written > PAUSE:
                self._write()

        if self.rows:
            tracker.complete(list(self.rows.values()))
        self.run_id = tracker.run_id
        self._write()
        try:
            yield follow
        finally:
            self._write()

    def drop(self) -> None:
        """Delete the log of a launch that has ended. A failure is only shown."""
        try:
            self.place.drop(log_file(self.name))
        except ServiceError as error:
            say(f"warning: the log of a finished run stays in the storage: {error}")

    def _write(self) -> None:
        lines = [{"run_id": self.run_id}, *(self.rows[step] for step in sorted(self.rows))]
        try:
            self.place.write(log_file(self.name), "".join(f"{json.dumps(line)}\n" for line in lines))
            self._failed = False
        except ServiceError as error:
            if not self._failed:
                say(f"warning: the log of this run could not be written, it is tried again: {error}")
            self._failed = True
        self._written = time.monotonic()


def recall(place: RunFiles, name: str) -> tuple[str | None, dict[int, Row]]:
    """The MLflow run and the rows, by step, in the log of a stopped training. Where a step has two rows, the later one counts.

    Raises CheckpointError where the log is damaged, ServiceError where the storage fails.
    """
    run_id: str | None = None
    rows: dict[int, Row] = {}
    for line in (place.read(log_file(name)) or "").splitlines():
        try:
            logged = json.loads(line)
        except ValueError as error:
            path = f"{place.path}/{log_file(name)}"
            raise CheckpointError(f"{path}: {error}; delete that file, the training resumes without its history") from None
        if "step" in logged:
            rows[int(logged["step"])] = logged
        else:
            run_id = logged["run_id"]
    return run_id, rows
