"""What a backup holds, and that half a one has no name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.backup import make
from pipeline.config.params import Params
from pipeline.config.project import Project
from rdmc.errors import ConfigError


def test_the_state_in_a_backup_is_readable(project: Project[Params], tmp_path: Path) -> None:
    backup = make.run(project, tmp_path / "backups")
    state = json.loads((backup / "registry.json").read_text())
    assert state["aliases"]["champion"] == 1
    assert set(state["versions"]) == {"1", "2"}


def test_a_backup_that_is_stopped_has_no_name(
    project: Project[Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("pipeline.backup.inventory.write", full)
    with pytest.raises(OSError, match="No space left"):
        make.run(project, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_server_alone_names_no_database(project: Project[Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:5000")
    with pytest.raises(ConfigError, match="names no database.*set MLFLOW_BACKEND_STORE_URI") as caught:
        make.run(project, tmp_path)
    assert "secret" not in str(caught.value)
