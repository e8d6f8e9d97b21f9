"""The record of finished steps: what is skipped, and what runs again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.profile.steps import Steps


class Work:
    """A step that writes its number of runs into a file and a folder."""

    def __init__(self, root: Path) -> None:
        self.file, self.folder, self.runs = root / "out.txt", root / "out", 0
        self.steps = Steps(root / "steps.json")

    def __call__(self) -> None:
        self.runs += 1
        self.file.write_text("text")
        (self.folder / "inner").mkdir(parents=True, exist_ok=True)
        (self.folder / "inner/a.txt").write_text("a")

    def run(self, *inputs: Any) -> str:
        return self.steps.run("work", inputs, [self.file, self.folder], self)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_a_step_whose_inputs_and_files_are_unchanged_is_skipped(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    first = work.run("code", {"seed": 0})
    assert capsys.readouterr().out == ""
    assert work.run("code", {"seed": 0}) == first
    assert work.runs == 1
    assert capsys.readouterr().out == "work: nothing has changed, skipped\n"
    again = Work(work.file.parent)  # another process
    again.run("code", {"seed": 0})
    assert again.runs == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda work: work.file.write_text("other"),
        lambda work: work.file.unlink(),
        lambda work: (work.folder / "inner/a.txt").write_text("b"),
        lambda work: (work.folder / "more.txt").write_text(""),
        lambda work: work.steps.record.unlink(),
        lambda work: work.steps.record.write_text("{"),
        lambda work: work.steps.record.write_text("[1]"),
    ],
)
def test_a_change_of_a_file_or_a_lost_record_runs_it_again(work: Work, spoil: Callable[[Work], Any]) -> None:
    work.run(1)
    spoil(work)
    work.run(1)
    assert work.runs == 2


def test_other_inputs_run_it_again_and_other_steps_stay_finished(work: Work) -> None:
    work.run(1)
    other = work.steps.run("other", [1], [work.file], lambda: None)
    work.run(2)
    assert work.runs == 2
    assert work.steps.run("other", [1], [work.file], lambda: pytest.fail("it ran again")) == other


def test_a_step_that_fails_is_not_finished(work: Work) -> None:
    def fail() -> None:
        work()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.steps.run("work", [1], [work.file, work.folder], fail)
    work.run(1)
    assert work.runs == 2
