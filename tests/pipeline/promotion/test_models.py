"""``models``: the table of versions."""

from __future__ import annotations

import json

import pytest

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.promotion import models, promote
from tests.support.registry import PromotionStore


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86399, "23 h"), (260000, "3 d")],
)
def test_an_age_is_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert models.age(1_000_000, 1000 + seconds) == text


def test_an_empty_registry_names_the_next_command(store: str, params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    models.run(Project(params, Settings(), Paths()))
    assert "no version of 'rdmc' is registered; run `make repro`" in capsys.readouterr().out


def test_each_version_is_a_row(
    versions: PromotionStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 220)
    versions.promote("1")
    run = versions.client.create_run("0")
    versions.client.create_model_version("rdmc", "file:///nowhere", run.info.run_id, await_creation_for=0)
    capsys.readouterr()
    models.run(versions.project)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("\u2502")]
    rows = [[cell for cell in line if cell != "\u2502"] for line in lines]
    assert [row[:2] for row in rows] == [["1", "champion"], ["2", "-"], ["3", "candidate"], ["4", "-"]]
    assert rows[0][-1] == "passed"
    assert set(rows[3][2:7]) == {"-"}, "a version without metrics"


def test_json_has_every_version_in_full_and_nothing_else(versions: PromotionStore, capsys: pytest.CaptureFixture[str]) -> None:
    promote.run(versions.project, "1", as_json=True)
    promoted = json.loads(capsys.readouterr().out)
    assert (promoted["outcome"], promoted["version"], promoted["champion"], promoted["before"]) == ("promote", 1, True, 0)
    assert all(check["passed"] for check in promoted["verdict"]["checks"])
    assert promoted["line"].startswith("passed: ")
    promote.run(versions.project, "1", as_json=True)
    assert json.loads(capsys.readouterr().out)["outcome"] == "champion already"
    for outcome in ("refuse", "refused before"):
        assert not promote.run(versions.project, "2", as_json=True)
        refused = json.loads(capsys.readouterr().out)
        assert (refused["outcome"], refused["version"], refused["champion"], refused["before"]) == (outcome, 2, False, 1)
        assert refused["document"]
    models.run(versions.project, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(version["version"], version["aliases"]) for version in found] == [(1, ["champion"]), (2, []), (3, ["candidate"])]
    assert found[0]["figures"]["overall/derained/psnr_y"] > 0
    assert len(found[0]["tags"]["model_sha256"]) == 64
    assert sorted(found[0]["data"]) == ["heavy", "light"]


def test_json_of_an_empty_registry_is_an_empty_list(store: str, params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    models.run(Project(params, Settings(), Paths()), as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_an_alias_that_differs_is_reported_and_not_changed(
    versions: PromotionStore, capsys: pytest.CaptureFixture[str]
) -> None:
    versions.client.set_registered_model_alias("rdmc", "champion", "2")
    models.run(versions.project)
    assert "champion is version 2, but none by the history; the next promote" in capsys.readouterr().out
    assert (versions.champion(), versions.entries()) == (2, 0)
