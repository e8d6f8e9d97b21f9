"""``history`` of a real store without models."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.promotion import champion, history
from pipeline.promotion.champion import append, move, read_log, settle
from pipeline.registry.versions import known_aliases
from tests.support.registry import add_versions


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store with three versions without models."""
    monkeypatch.setattr(champion, "PAUSE", 0)
    monkeypatch.setattr(console, "width", 1000)
    client = MlflowClient(store, store)
    add_versions(client, "rdmc", 3)
    return client


@pytest.fixture
def project(params: Params) -> Project[Params]:
    return Project(params, Settings(), Paths())


def test_a_new_registry_has_no_champion_yet(
    client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    history.run(project)
    assert "champion: none yet; `python -m pipeline promote VERSION`" in capsys.readouterr().out


def test_every_entry_is_shown_and_says_whether_it_counts(
    client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    names = project.params.register_
    start = settle(client, names)
    move(client, names, start, "promote", 1, "passed: overall", "nightly")
    append(client, names, start, "promote", 2)
    append(client, names, settle(client, names), "refuse", 3, "refused: overall")
    capsys.readouterr()
    history.run(project, as_json=True)
    entries = json.loads(capsys.readouterr().out)
    assert [(entry["kind"], entry["after"], entry["counts"]) for entry in entries] == [
        ("promote", 1, True),
        ("promote", 2, False),
        ("refuse", 3, False),
    ]
    assert list(entries[0]) == [
        *("number", "kind", "base", "before", "after", "who", "at", "verdict", "why", "token", "done", "document", "counts")
    ]
    history.run(project)
    shown = capsys.readouterr().out
    assert "nightly" in shown
    assert "promote (too late)" in shown
    assert "refuse (too late)" not in shown
    assert "champion: version 1" in shown


def test_a_limit_shows_the_newest_entries(
    client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    names = project.params.register_
    for version in (1, 2, 3):
        move(client, names, settle(client, names), "promote", version, why=f"reason {version}")
    for limit, expected in ((1, [3]), (2, [2, 3]), (0, [1, 2, 3]), (9, [1, 2, 3])):
        capsys.readouterr()
        history.run(project, as_json=True, limit=limit)
        assert [entry["after"] for entry in json.loads(capsys.readouterr().out)] == expected
    history.run(project, limit=2)
    shown = capsys.readouterr().out
    assert ("reason 1" in shown, "reason 2" in shown, "reason 3" in shown) == (False, True, True)
    assert "1 earlier entries are not shown" in shown
    assert "champion: version 3" in shown


def test_an_alias_that_differs_is_reported_and_not_changed(
    client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    names = project.params.register_
    move(client, names, settle(client, names), "promote", 1)
    client.set_registered_model_alias("rdmc", "champion", "2")
    capsys.readouterr()
    history.run(project)
    assert "champion is version 2, but 1 by the history; the next promote" in capsys.readouterr().out
    history.run(project, as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert len(read_log(client, names).entries) == 1
    assert known_aliases(client, "rdmc")["champion"] == 2
