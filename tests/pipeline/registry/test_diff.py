"""``diff`` of two versions."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.registry import diff
from pipeline.registry.diff import changed, compared
from rdmc.errors import ServiceError
from tests.support.registry import add_versions


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Two versions that differ in one param, the data, the weights and the gain."""
    monkeypatch.setattr(console, "width", 200)
    client = MlflowClient(store, store)
    add_versions(client, "rdmc", 2)
    for number, (rate, digest, weights, gain) in enumerate((("0.1", "l1", "w1", 3.0), ("0.2", "l2", "w2", 3.25)), 1):
        run = str(client.get_model_version("rdmc", str(number)).run_id)
        client.log_param(run, "train.lr", rate)
        client.log_param(run, "train.steps", "10")
        client.log_metric(run, "evaluate/light/gain_psnr_y", gain)
        for name, value in (("data.light", digest), ("model_sha256", weights), ("code", "committed")):
            client.set_model_version_tag("rdmc", str(number), name, value)
    return client


@pytest.fixture
def project(params: Params) -> Project[Params]:
    return Project(params, Settings(), Paths())


def rows(text: str) -> list[list[str]]:
    """The cells of each row of each table."""
    return [line.replace("\u2502", " ").split() for line in text.splitlines() if line.startswith("\u2502")]


def test_only_differences_are_shown(client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]) -> None:
    client.set_registered_model_alias("rdmc", "candidate", "2")
    diff.run(project, "1", "candidate")
    assert rows(capsys.readouterr().out) == [
        ["train.lr", "0.1", "0.2"],
        ["light", "l1", "l2"],
        ["model_sha256", "w1", "w2"],
        ["light/gain_psnr_y", "3.0000", "3.2500", "+0.2500"],
    ]


def test_a_version_compared_with_itself_differs_in_nothing(
    client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    diff.run(project, "1", "1")
    shown = capsys.readouterr().out
    for part in ("params", "data", "code"):
        assert f"{part}: no difference" in shown
    assert rows(shown) == [["light/gain_psnr_y", "3.0000", "3.0000", "+0.0000"]]


def test_json_has_the_differences(client: MlflowClient, project: Project[Params], capsys: pytest.CaptureFixture[str]) -> None:
    client.set_model_version_tag("rdmc", "2", "leaks", "l")
    diff.run(project, "1", "2", as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "versions": [1, 2],
        "params": {"train.lr": ["0.1", "0.2"]},
        "data": {"light": ["l1", "l2"]},
        "code": {"leaks": [None, "l"], "model_sha256": ["w1", "w2"]},
        "figures": {"light/gain_psnr_y": [3.0, 3.25]},
    }


def test_versions_without_figures_say_so(store: str, project: Project[Params], capsys: pytest.CaptureFixture[str]) -> None:
    add_versions(MlflowClient(store, store), "rdmc", 1)
    diff.run(project, "1", "1")
    assert "figures: none is known" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0", "3", "nobody", "1" * 20, "1" * 5000, "\u0661"])
def test_an_unknown_version_is_one_short_line(client: MlflowClient, project: Project[Params], text: str) -> None:
    with pytest.raises(ServiceError, match=r"^[^\n]{1,41}: no version or alias of 'rdmc'"):
        diff.run(project, text, "1")


def test_missing_values_are_dashes() -> None:
    assert changed({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == [["a", "1", "-"], ["c", "-", "3"]]
    one, other = {"light/gain_psnr_y": 1.0, "light/images": 9.0}, {"heavy/derained/psnr_y": 30.0}
    assert compared(one, other) == [["heavy/derained/psnr_y", "-", "30.0000", "-"], ["light/gain_psnr_y", "1.0000", "-", "-"]]
