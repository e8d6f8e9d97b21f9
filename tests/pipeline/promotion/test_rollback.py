"""``rollback`` in a real store without models: loading is replaced."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.promotion import champion, rollback
from pipeline.promotion.champion import move, settle
from pipeline.registry.versions import Version, known_aliases
from rdmc.errors import CheckpointError, ServiceError
from tests.support.registry import add_versions


@pytest.fixture
def project(params: Params) -> Project[Params]:
    return Project(params, Settings(), Paths())


@pytest.fixture
def client(store: str, project: Project[Params], monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store in which versions 1, 2 and 3 were promoted one after the other."""
    monkeypatch.setattr(champion, "PAUSE", 0)
    monkeypatch.setattr(rollback, "load_version", lambda version, settings: None)
    client = MlflowClient(store, store)
    add_versions(client, "rdmc", 3)
    for version in (1, 2, 3):
        promote(client, project, version)
    return client


def promote(client: MlflowClient, project: Project[Params], version: int) -> None:
    move(client, project.params.register_, settle(client, project.params.register_), "promote", version)


def in_use(client: MlflowClient) -> int:
    return known_aliases(client, "rdmc").get("champion", 0)


def test_each_rollback_goes_one_promotion_further_back(
    client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    rollback.run(project, "it rained")
    assert in_use(client) == 2
    assert "models:/rdmc@champion is version 2 again, before: 3" in capsys.readouterr().out
    assert settle(client, project.params.register_).entries[-1].why == "it rained"
    rollback.run(project)
    assert in_use(client) == 1
    with pytest.raises(ServiceError, match="models:/rdmc@champion: no champion before this one to go back to; see"):
        rollback.run(project)
    assert in_use(client) == 1


def test_deleted_versions_are_skipped(
    client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    client.delete_model_version("rdmc", "2")
    rollback.run(project)
    assert in_use(client) == 1
    assert "passed over version 2: deleted from the registry" in capsys.readouterr().out


def test_a_model_that_cannot_be_loaded_stays_out_of_use(
    client: MlflowClient, project: Project[Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(version: Version, settings: Settings) -> None:
        raise CheckpointError(f"{version.uri}: damaged")

    monkeypatch.setattr(rollback, "load_version", damaged)
    with pytest.raises(CheckpointError, match="^models:/rdmc/2: damaged"):
        rollback.run(project)
    assert in_use(client) == 3


def test_a_promotion_during_the_rollback_wins(
    client: MlflowClient, project: Project[Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "load_version", lambda version, settings: promote(client, project, 1))
    with pytest.raises(ServiceError, match="another command made version 1 the champion meanwhile"):
        rollback.run(project)
    assert in_use(client) == 1
