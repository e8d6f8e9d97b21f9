"""A journal: rows that outlive a process, half a line, and digests of what results depend on."""

from __future__ import annotations

from pathlib import Path

import rdmc
from rdmc.data.journal import PieceJournal, digest_of, library_digest


def test_rows_are_read_again_and_half_a_line_is_not(tmp_path: Path) -> None:
    path = tmp_path / "deep/journal.jsonl"
    with PieceJournal(path) as first:
        first.add(2, {"x": 0.1})
        first.add(0, {"name": "ü"})
    path.write_text(path.read_text() + '[3, {"x"')
    with PieceJournal(path) as second:
        assert second.rows == {2: {"x": 0.1}, 0: {"name": "ü"}}
        second.add(3, {"x": 1})
    assert PieceJournal(path).rows == {2: {"x": 0.1}, 0: {"name": "ü"}, 3: {"x": 1}}
    second.remove()
    assert not path.exists()
    assert PieceJournal(path).rows == {}


def test_a_row_that_is_forgotten_in_memory_stays_in_the_file(tmp_path: Path) -> None:
    with PieceJournal(tmp_path / "journal.jsonl") as journal:
        for number in range(3):
            journal.add(number, {"x": number})
            del journal.rows[number]
    assert list(PieceJournal(journal.path).rows) == [0, 1, 2]


def test_digests_depend_on_every_value_and_file() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
    assert (
        len({library_digest(), library_digest("metrics.py"), library_digest("data"), library_digest("data", "metrics.py")}) == 4
    )
    assert (Path(rdmc.__file__).parent / "metrics.py").is_file()
