"""The registry's state, and weights that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.backup import make, restore
from pipeline.backup.registered import compare, snapshot
from pipeline.config.params import Params
from pipeline.config.project import Project
from rdmc.errors import DataError, RdmcError


def test_a_difference_is_named(project: Project[Params]) -> None:
    state = snapshot(project)
    assert state["aliases"] == {"candidate": 2, "champion": 1}
    assert compare(project, state) == 2
    for part, other in (("aliases", {"champion": 2}), ("history", []), ("versions", {})):
        with pytest.raises(DataError, match=f"rdmc: the {part} in MLflow are not those of the backup"):
            compare(project, {**state, part: other})


def test_weights_that_are_gone_are_found(project: Project[Params], tmp_path: Path) -> None:
    backup = make.run(project, tmp_path / "backups")
    for weights in Path("mlartifacts").rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(RdmcError):
        restore.run(project, backup, check_only=True)
