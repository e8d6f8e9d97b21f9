"""The journal's lines reach the driver while the training runs, also those after an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.training import following as module
from pipeline.training.controller import RESTARTED, SAID
from pipeline.training.following import following
from pipeline.training.worker import Row
from rdmc.errors import ServiceError, TrainingError
from tests.support.waiting import until


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are printed."""
    lines: list[str] = []
    monkeypatch.setattr(module, "say", lines.append)
    return lines


def append(journal: Path, line: object) -> None:
    with journal.open("a") as file:
        file.write(json.dumps(line) + "\n")


def test_each_line_goes_to_where_it_belongs_while_the_block_runs(tmp_path: Path, said: list[str]) -> None:
    rows: list[Row] = []
    causes: list[str] = []
    with following(tmp_path, rows.append, causes.append) as journal:
        append(journal, {"step": 3})
        until(lambda: rows == [{"step": 3}])
        append(journal, {SAID: "worker 1 died"})
        append(journal, {RESTARTED: "failure"})
        until(lambda: causes == ["failure"])
        append(journal, {"step": 6})
    assert rows == [{"step": 3}, {"step": 6}], "the last lines too"
    assert said == ["worker 1 died"]


def test_an_error_over_a_line_is_said_at_once_hides_no_other_line_and_is_raised_at_the_end(
    tmp_path: Path, said: list[str]
) -> None:
    rows: list[Row] = []

    def follow(row: Row) -> None:
        rows.append(row)
        if row["step"] < 9:
            raise ServiceError(f"row {row['step']}")

    def train() -> None:
        with following(tmp_path, follow, print) as journal:
            append(journal, {"step": 3})
            until(lambda: said)
            append(journal, {"step": 6})
            append(journal, {"step": 9})

    with pytest.raises(ServiceError, match="^row 3$"):
        train()
    assert [row["step"] for row in rows] == [3, 6, 9]
    assert said == ["error: row 3; the training goes on, and the command fails with this error at its end"]


def test_an_error_of_the_block_comes_before_one_of_a_line(tmp_path: Path, said: list[str]) -> None:
    def train() -> None:
        with following(tmp_path, lambda row: None, print) as journal:
            journal.write_text("no JSON\n")
            raise TrainingError("the loss is not finite")

    with pytest.raises(TrainingError, match="not finite"):
        train()
    assert said[0].startswith("error: JSONDecodeError: ")
