"""Text is printed unchanged: paths may hold brackets and colons, which rich would take for markup."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.console import TrainingDisplay, console, say, table, track
from tests.support.imports import ROOT

WITHOUT = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
ODD = "rain[0]/[/b] :smile:.png"


def test_brackets_and_colons_are_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    say(ODD)
    table(ODD, [ODD, "pairs"], [[ODD, "1"]])
    assert list(track([1, 2], ODD)) == [1, 2]
    assert capsys.readouterr().out.count(ODD) == 4


def test_a_table_in_a_pipe_is_not_cut_off() -> None:
    code = "from pipeline.console import table; table('t', [f'column{n}' for n in range(10)], [['0123456789'] * 10])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=WITHOUT, capture_output=True, text=True, check=True)
    assert done.stdout.count("0123456789") == 10
    narrow = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**WITHOUT, "COLUMNS": "60"}, capture_output=True, text=True, check=True
    )
    assert "…" not in narrow.stdout, "folded, not cut off"


def test_a_training_shows_no_figure_before_its_first_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 200)
    display = TrainingDisplay(100)
    with console.capture() as shown:
        console.print(display.progress.get_renderable())
    assert "0/100" in shown.get()
    assert "loss -  PSNR-Y -  - images/s" in shown.get()
    assert "nan" not in shown.get()
