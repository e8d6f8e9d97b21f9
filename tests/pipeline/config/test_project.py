"""A project is handed to another process as plain data, without credentials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project, from_plain
from pipeline.config.recipe import Recipe, with_overrides
from pipeline.config.settings import Settings
from rdmc.errors import ConfigError


@pytest.fixture
def project(params: Params, tmp_path: Path) -> Project[Params]:
    return Project(params, Settings(workers=3, bucket="s3://rain/team"), Paths(tmp_path))


def test_a_project_survives_the_way_through_plain_data(project: Project[Params]) -> None:
    assert from_plain(json.loads(json.dumps(project.to_plain())), Params) == project


def test_a_recipe_takes_its_part_of_the_params(project: Project[Params]) -> None:
    plain = project.to_plain()
    assert "gate" in plain["params"]
    recipe = from_plain(plain, Recipe).params
    assert type(recipe) is Recipe
    assert all(getattr(recipe, name) == getattr(project.params, name) for name in Recipe.model_fields)


def test_plain_data_holds_no_credential(project: Project[Params], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-test")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret-of-a-test@host")
    assert "of-a-test" not in json.dumps(Project(project.params, Settings(), project.paths).to_plain())


def test_the_root_is_absolute_for_a_process_in_another_folder(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_plain(Project(params, Settings(), Paths()).to_plain(), Params).paths.root == tmp_path


def test_changed_plain_data_is_checked_again(project: Project[Params]) -> None:
    plain = project.to_plain()
    plain["params"]["seed"] = "one"
    with pytest.raises(ConfigError, match="^params: seed: 'one'"):
        from_plain(plain, Params)


def test_with_workers_and_with_params_change_nothing_else(project: Project[Params]) -> None:
    fewer = project.with_workers(1)
    assert (fewer.settings.workers, project.settings.workers) == (1, 3)
    assert (fewer.params, fewer.paths, fewer.settings.bucket) == (project.params, project.paths, "s3://rain/team")
    other = with_overrides(project.params, {"seed": 1})
    assert project.with_params(other) == Project(other, project.settings, project.paths)
