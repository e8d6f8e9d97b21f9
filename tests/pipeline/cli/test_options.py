"""The project that commands read, and the check of a dataset's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.options import known, read_project
from rdmc.errors import ConfigError
from tests.support.imports import ROOT


def test_the_project_comes_from_the_file_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDMC_DATA", "/elsewhere")
    monkeypatch.setenv("RDMC_WORKERS", "3")
    project = read_project(ROOT / "params.yaml")
    assert set(project.params.datasets) == {"light", "heavy"}
    assert (project.settings.workers, project.paths.best) == (3, Path("/elsewhere/checkpoints/best"))


def test_a_bad_setting_and_a_missing_file_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.yaml.*name a file with --params"):
        read_project(tmp_path / "none.yaml")
    monkeypatch.setenv("RDMC_WORKERS", "many")
    with pytest.raises(ConfigError, match="^RDMC_WORKERS: 'many'"):
        read_project(ROOT / "params.yaml")


def test_only_a_dataset_of_the_params_is_known() -> None:
    project = read_project(ROOT / "params.yaml")
    assert known(project, "heavy") == "heavy"
    with pytest.raises(ConfigError, match=r"'snow' is not a dataset of params.yaml \(light, heavy\)"):
        known(project, "snow")
