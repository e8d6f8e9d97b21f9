"""What the driver keeps of a launch while it goes on, so that one that was stopped keeps its history and its MLflow run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.console import TrainingDisplay
from pipeline.tracking.tracker import Tracker
from pipeline.training.worker import Row
from rdmc.errors import CheckpointError


class RunLog:
    """The reports of a launch by step, those before it was stopped included, and its MLflow run.

    They lie in ``path``, a JSON object a line. Raises CheckpointError where that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id, self.rows = recall(path)
        self.stepping = 0.0
        """Seconds in the training steps that this process followed."""

    @contextmanager
    def following(self, tracker: Tracker, display: TrainingDisplay) -> Iterator[Callable[[Row], None]]:
        """What to call with every report: notes it, shows it, sends it to MLflow."""
        self.run_id = tracker.run_id
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", buffering=1) as file:
            file.write(json.dumps({"run_id": tracker.run_id}) + "\n")

            def follow(row: Row) -> None:
                self.rows[int(row["step"])] = row
                file.write(json.dumps(row) + "\n")
                self.stepping += row["step_seconds"]
                display(row)
                tracker.log({key: value for key, value in row.items() if key != "step"}, int(row["step"]))

            yield follow


def recall(notes: Path) -> tuple[str | None, dict[int, Row]]:
    """The MLflow run and the rows, by step, that a stopped training noted; of a step it took twice, the later row.

    Raises CheckpointError where the notes are damaged.
    """
    run_id: str | None = None
    rows: dict[int, Row] = {}
    for line in notes.read_text().splitlines() if notes.is_file() else []:
        try:
            noted = json.loads(line)
        except ValueError as error:
            raise CheckpointError(f"{notes}: {error}; delete that file, the training goes on without its history") from None
        if "step" in noted:
            rows[int(noted["step"])] = noted
        else:
            run_id = noted["run_id"]
    return run_id, rows
