"""The driver's log of a launch on disk. A stopped launch resumes with its history and its MLflow run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.tracking.tracker import Tracker
from pipeline.training.worker import Row
from rdmc.errors import CheckpointError


class RunLog:
    """The reports of a launch by step, with those from before it was stopped, and its MLflow run.

    The file ``path`` holds a JSON object per line. Raises CheckpointError where it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id, self.rows = recall(path)
        self.stepping = 0.0
        """Seconds in the training steps that this process followed."""

    @contextmanager
    def following(self, tracker: Tracker, *show: Callable[[Row], None]) -> Iterator[Callable[[Row], None]]:
        """Yield a function to call with every report: it logs the report, calls ``show`` with it and sends it to MLflow."""
        self.run_id = tracker.run_id
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", buffering=1) as file:
            file.write(json.dumps({"run_id": tracker.run_id}) + "\n")

            def follow(row: Row) -> None:
                self.rows[int(row["step"])] = row
                file.write(json.dumps(row) + "\n")
                self.stepping += row["step_seconds"]
                for one in show:
                    one(row)
                tracker.log({key: value for key, value in row.items() if key != "step"}, int(row["step"]))

            yield follow


def recall(path: Path) -> tuple[str | None, dict[int, Row]]:
    """The MLflow run and the rows, by step, in the log of a stopped training. Where a step has two rows, the later one counts.

    Raises CheckpointError where the log is damaged.
    """
    run_id: str | None = None
    rows: dict[int, Row] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            logged = json.loads(line)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}; delete that file, the training resumes without its history") from None
        if "step" in logged:
            rows[int(logged["step"])] = logged
        else:
            run_id = logged["run_id"]
    return run_id, rows
