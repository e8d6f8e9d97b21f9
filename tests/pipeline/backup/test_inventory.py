"""A backup's list of files: whatever differs from it is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.backup import inventory
from rdmc.errors import DataError


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    (tmp_path / "bucket/a").mkdir(parents=True)
    (tmp_path / "bucket/a/b").write_bytes(b"one")
    (tmp_path / "state.json").write_text("{}")
    assert set(inventory.write(tmp_path)) == {"bucket/a/b", "state.json"}
    return tmp_path


def test_a_whole_backup_passes(backup: Path) -> None:
    inventory.verify(backup)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: (at / "bucket/a/b").write_bytes(b"two"), "bucket/a/b: has other bytes"),
        (lambda at: (at / "bucket/a/b").unlink(), "bucket/a/b: is missing"),
        (lambda at: (at / "bucket/c").write_bytes(b""), "bucket/c: is not listed"),
        (lambda at: (at / "inventory.json").write_text("{"), "inventory.json: cannot be read, so this is no complete backup"),
        (lambda at: (at / "inventory.json").unlink(), "inventory.json: cannot be read, so this is no complete backup"),
    ],
)
def test_a_damaged_one_does_not(backup: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(backup)
    with pytest.raises(DataError, match=said):
        inventory.verify(backup)
