"""The project that commands read, and the check of a dataset's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.options import known, read_project, registered_names
from pipeline.serving.choice import NAMES
from rdmc.errors import ConfigError
from tests.support.imports import ROOT


def test_the_project_comes_from_the_file_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDMC_DATA", "/elsewhere")
    monkeypatch.setenv("RDMC_WORKERS", "3")
    project = read_project(ROOT / "params.yaml")
    assert set(project.params.datasets) == {"light", "heavy", "wild"}
    assert (project.settings.workers, project.paths.best) == (3, Path("/elsewhere/checkpoints/best"))


def test_a_profile_changes_the_params(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/longer.yaml").write_text("train: {steps: 77}")
    assert read_project(tmp_path / "params.yaml", "longer").params.train.steps == 77
    with pytest.raises(ConfigError, match="'shorter' is not a profile"):
        read_project(tmp_path / "params.yaml", "shorter")


def test_the_names_in_the_registry_come_from_the_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("model: rdmc", "model: drops"))
    assert registered_names(path).model == "drops"
    monkeypatch.chdir(tmp_path)
    assert registered_names().model == "drops"
    path.unlink()
    assert registered_names() == NAMES
    with pytest.raises(ConfigError, match="none.yaml"):
        registered_names(Path("none.yaml"))


def test_a_bad_setting_and_a_missing_file_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.yaml.*name a file with --params"):
        read_project(tmp_path / "none.yaml")
    monkeypatch.setenv("RDMC_WORKERS", "many")
    with pytest.raises(ConfigError, match="^RDMC_WORKERS: 'many'"):
        read_project(ROOT / "params.yaml")


def test_only_a_dataset_of_the_params_is_known() -> None:
    project = read_project(ROOT / "params.yaml")
    assert known(project, "heavy") == "heavy"
    with pytest.raises(ConfigError, match=r"'snow' is not a dataset of params.yaml \(light, heavy, wild\)"):
        known(project, "snow")
