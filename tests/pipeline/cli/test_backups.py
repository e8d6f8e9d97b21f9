"""The options of the commands that back up and restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.__main__ import command_line
from pipeline.backup import make, restore


def test_options_reach_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(make, "run", lambda project, folder: seen.append(folder))
    monkeypatch.setattr(restore, "run", lambda project, folder, replace, check: seen.append((folder, replace, check)))
    for arguments in (
        ["backup", "copies"],
        ["restore", "copies/1"],
        ["restore", "copies/1", "--replace"],
        ["restore", "a", "--check"],
    ):
        assert CliRunner().invoke(command_line(), arguments).exit_code == 0
    assert seen == [Path("copies"), (Path("copies/1"), False, False), (Path("copies/1"), True, False), (Path("a"), False, True)]
