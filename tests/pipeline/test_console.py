"""What is printed is what was given: paths may hold brackets and colons, which rich would take for markup."""

from __future__ import annotations

import pytest

from pipeline.console import say, table, track

ODD = "rain[0]/[/b] :smile:.png"


def test_brackets_and_colons_stay(capsys: pytest.CaptureFixture[str]) -> None:
    say(ODD)
    table(ODD, [ODD, "pairs"], [[ODD, "1"]])
    assert list(track([1, 2], ODD)) == [1, 2]
    assert capsys.readouterr().out.count(ODD) == 4
