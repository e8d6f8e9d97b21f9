"""The acts of the registry with real models on packed data, in a real SQLite store."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_overrides
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.evaluation import paired as comparing
from pipeline.promotion import champion as promotion
from pipeline.promotion import history, models, promote, rollback
from pipeline.registry import diff
from pipeline.registry.client import registry
from pipeline.registry.versions import find_version, known_aliases
from rdmc.errors import CheckpointError, ConfigError, DataError, ServiceError
from tests.support.registry import EASY, register_shifts


@dataclass(frozen=True)
class Place:
    """The working folder, with versions 1 to 3: good, worse than nothing, and the best."""

    workspace: Paths
    client: MlflowClient
    params: Params

    def champion(self) -> int:
        return known_aliases(self.client, "rdmc").get("champion", 0)

    def tag(self, version: str, name: str = "verdict") -> str:
        return str(self.client.get_model_version("rdmc", version).tags.get(name, ""))

    def document(self, version: str) -> Path:
        run = self.client.get_model_version("rdmc", version).run_id
        return Path(self.client.download_artifacts(str(run), self.tag(version, "verdict_artifact")))

    def entries(self) -> int:
        with registry(Settings()) as client:
            return len(promotion.read_log(client, self.params.register_).entries)

    def promote(self, version: str, *, force: bool = False, reason: str = "", **rules: object) -> bool:
        params = with_overrides(self.params, {f"gate.{name}": value for name, value in rules.items()})
        return promote.run(Project(params, Settings(), self.workspace), version, force, reason)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, params: Params, make_workspace: Callable[..., Paths]
) -> Path:
    """The folder of it, which no test works in."""
    root = tmp_path_factory.mktemp("made")
    shutil.copy(empty_store, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        client = MlflowClient("sqlite:///mlflow.db", "sqlite:///mlflow.db")
        register_shifts(make_workspace(Path()), params, client, (-0.5, 10.0, -2.0), patch)
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A store of the test's own; models and images are shared."""
    shutil.copy(made / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.chdir(made)
    monkeypatch.setattr(promotion, "PAUSE", 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{tmp_path}/mlflow.db")
    return Place(Paths(), MlflowClient(uri, uri), with_overrides(params, EASY))


def test_the_way_of_a_champion(place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """First, better, refused, forced, back; each with its verdict, and all of it in the history."""
    monkeypatch.setattr(console, "width", 1000)
    assert not place.promote("2"), "worse than the rainy input"
    assert place.champion() == 0
    assert place.promote("1"), "the first has to beat the rainy input"
    assert place.promote("candidate")
    assert place.champion() == 3
    shown = capsys.readouterr().out
    assert "models:/rdmc@champion is version 3 now, before: 1" in shown
    assert place.promote("3"), "is it already"
    assert "nothing to promote" in capsys.readouterr().out
    assert not place.promote("2")
    with pytest.raises(ConfigError, match="--force: needs a reason"):
        place.promote("2", force=True, reason=" ")
    assert place.promote("2", force=True, reason="a demonstration")
    assert place.champion() == 2
    rollback.run(Project(place.params, Settings(), Paths()), "it rained")
    assert place.champion() == 3

    capsys.readouterr()
    history.run(Project(place.params, Settings(), Paths()), as_json=True)
    entries = json.loads(capsys.readouterr().out)
    told = [(entry["kind"], entry["before"], entry["after"], entry["why"]) for entry in entries]
    assert told == [
        ("refuse", 0, 2, ""),
        ("promote", 0, 1, ""),
        ("promote", 1, 3, ""),
        ("refuse", 3, 2, ""),
        ("force", 3, 2, "a demonstration"),
        ("rollback", 2, 3, "it rained"),
    ]
    assert all(entry["counts"] == (entry["kind"] != "refuse") for entry in entries)
    history.run(Project(place.params, Settings(), Paths()))
    assert "a demonstration" in capsys.readouterr().out

    with registry(Settings()) as client:
        version = find_version(client, "rdmc", "3")
    assert version.tags["verdict"].startswith("passed: overall +")
    assert "## Verdict: passed, against version 1" in version.description
    assert version.description.startswith("RDMC"), "what register wrote stays"
    folder = Path(place.client.download_artifacts(version.run_id, version.tags["verdict_artifact"]))
    verdict = json.loads((folder / "verdict.json").read_text())
    checks = {check["name"]: check for check in verdict["checks"]}
    assert verdict["scenes"] == 6, "light and heavy show the same ones"
    assert verdict["images"] == 12
    assert checks["overall"]["low"] > 0
    assert (folder / "verdict.md").read_text().startswith("# version 3 against version 1: passed")
    rows = list(csv.DictReader((folder / "images.csv").open()))
    mean = float(place.client.get_run(version.run_id).data.metrics["evaluate/heavy/derained/psnr_y"])
    heavy = [float(row["version 3 psnr_y"]) for row in rows if row["dataset"] == "heavy"]
    assert sum(heavy) / 6 == pytest.approx(mean, abs=1e-5), "as evaluate measured it"
    assert len({row["scene"] for row in rows}) == 6

    assert not place.promote("2"), "rolled back and refused"
    assert "rolled back on" in place.client.get_model_version("rdmc", "2").tags["verdict"]


def test_models_and_diff(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "width", 220)
    place.promote("1")
    run = place.client.create_run("0")
    place.client.create_model_version("rdmc", "file:///nowhere", run.info.run_id, await_creation_for=0)
    capsys.readouterr()
    models.run(Project(place.params, Settings(), Paths()))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("\u2502")]
    rows = [[cell for cell in line if cell != "\u2502"] for line in lines]
    assert [row[:2] for row in rows] == [["1", "champion"], ["2", "-"], ["3", "candidate"], ["4", "-"]]
    assert rows[0][-1] == "passed"
    assert set(rows[3][2:7]) == {"-"}, "a version without metrics"
    diff.run(Project(place.params, Settings(), Paths()), "1", "candidate")
    shown = capsys.readouterr().out
    assert "params: no difference" in shown
    assert "data: no difference" in shown
    assert "model_sha256" in shown
    found = next(line for line in shown.splitlines() if "heavy/gain_psnr_y" in line).replace("\u2502", " ").split()
    assert float(found[3]) == pytest.approx(float(found[2]) - float(found[1]), abs=2e-4)
    diff.run(Project(place.params, Settings(), Paths()), "4", "4")
    assert "figures: none is known" in capsys.readouterr().out


def test_lineage_counts(place: Place) -> None:
    place.client.delete_model_version_tag("rdmc", "1", "leaks")
    assert not place.promote("1")
    assert "no report of leaks" in place.client.get_model_version("rdmc", "1").tags["verdict"]
    place.client.set_model_version_tag("rdmc", "3", "data.light", "other")
    assert not place.promote("3")
    assert "registered with other data than is here (light)" in place.client.get_model_version("rdmc", "3").tags["verdict"]


def _weights(place: Place, version: str) -> Path:
    model = place.client.get_logged_model(str(place.client.get_model_version("rdmc", version).source).removeprefix("models:/"))
    return next(Path(model.artifact_location.removeprefix("file://")).rglob("model.safetensors"))


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_models_that_are_damaged(place: Place, damage: str) -> None:
    """A challenger is never promoted then; a champion that is lost can be replaced by force only."""
    path = _weights(place, "3")
    kept = path.read_bytes()
    try:
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(kept[:-9] if damage == "cut" else _weights(place, "2").read_bytes())
        with pytest.raises(CheckpointError, match=r"^models:/rdmc/3: .*; (register it again|the artifact is damaged)"):
            place.promote("3", force=True, reason="never")
        assert place.champion() == 0
        place.client.set_registered_model_alias("rdmc", "champion", "3")
        with pytest.raises(
            CheckpointError, match="^the champion cannot be loaded, so there is nothing to compare with: models:/rdmc/3"
        ):
            place.promote("1")
        assert place.champion() == 3
        assert place.promote("1", force=True, reason="its files are gone")
        assert "the champion could not be loaded" in place.client.get_model_version("rdmc", "1").tags["verdict"]
        with pytest.raises(CheckpointError, match="^models:/rdmc/3"):
            rollback.run(Project(place.params, Settings(), Paths()))
        assert place.champion() == 1
    finally:
        path.write_bytes(kept)


def test_what_is_not_there_is_one_line(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"^9: no version or alias of 'rdmc' \(there are 1, 2, 3, candidate\); name another"):
        place.promote("9")
    with pytest.raises(ServiceError, match="no champion before this one to go back to"):
        rollback.run(Project(place.params, Settings(), Paths()))
    place.client.create_model_version("rdmc", "file:///nowhere", await_creation_for=0)
    with pytest.raises(ServiceError, match="models:/rdmc/4: has no MLflow run"):
        place.promote("4")
    models.run(Project(place.params, Settings(), Paths()))
    diff.run(Project(place.params, Settings(), Paths()), "4", "1")
    for text in ("0", "1" * 20, "1" * 5000, "\u0661"):
        with pytest.raises(ServiceError, match=r"^[^\n]{1,41}: no version or alias of 'rdmc'"):
            diff.run(Project(place.params, Settings(), Paths()), text, "1")
    with pytest.raises(DataError, match="light"):
        promote.run(Project(place.params, Settings(), Paths(tmp_path)), "1")
    assert place.champion() == 0


def test_a_champion_that_changes_during_the_evaluation(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is on the one before, so it is worth nothing."""
    place.promote("1")
    real = comparing.compared

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(promote, "compared", real)
        assert place.promote("2", force=True, reason="the other one")
        return real(*arguments)

    monkeypatch.setattr(promote, "compared", slow)
    with pytest.raises(ServiceError, match="version 3 was not promoted: another command made version 2 the champion meanwhile"):
        place.promote("3")
    assert place.champion() == 2
    history.run(Project(place.params, Settings(), Paths()))


def test_a_lost_alias_does_not_open_the_gate(place: Place) -> None:
    """Version 1 beats the rainy input, and not version 3, which was champion."""
    assert place.promote("3")
    place.client.delete_registered_model_alias("rdmc", "champion")
    assert not place.promote("1")
    assert place.tag("1").startswith("refused: overall -")
    with pytest.raises(ServiceError, match=r"^models:/rdmc/3: was models:/rdmc@champion until that was lost; .* rollback`"):
        place.promote("3")
    rollback.run(Project(place.params, Settings(), Paths()))
    assert place.champion() == 3


def test_champions_that_were_deleted(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The last one that is there is held against a challenger, and rolled back to; where none is, force alone promotes."""
    assert place.promote("1")
    assert place.promote("3")
    place.client.delete_model_version("rdmc", "3")
    assert not place.promote("2")
    verdict = json.loads((place.document("2") / "verdict.json").read_text())
    assert verdict["champion"] == "version 1"
    assert verdict["facts"]["champions since then that were deleted"] == "3"
    assert place.promote("2", force=True, reason="a demonstration")
    rollback.run(Project(place.params, Settings(), Paths()))
    assert place.champion() == 1
    assert "passed over version 3: deleted from the registry" in capsys.readouterr().out
    place.client.delete_model_version("rdmc", "1")
    with pytest.raises(ServiceError, match="^the champion cannot be loaded, .*: version 1: deleted from the registry; or"):
        place.promote("2")
    with pytest.raises(ServiceError, match=r"to go back to \(version 1: deleted from the registry\)"):
        rollback.run(Project(place.params, Settings(), Paths()))
    assert place.promote("2", force=True, reason="nothing else is left")
    history.run(Project(place.params, Settings(), Paths()))
    models.run(Project(place.params, Settings(), Paths()))
    assert "settles it" not in capsys.readouterr().out


def test_a_benchmark_that_is_dropped_is_defended(place: Place) -> None:
    assert place.promote("1")
    fewer = place.params.model_copy(update={"datasets": {"light": place.params.datasets["light"]}})
    assert not promote.run(Project(fewer, Settings(), Paths()), "3")
    lost = "version 1 was measured on heavy, which has no test images here; name it in params.yaml again"
    assert place.tag("3").endswith(lost)
    assert place.promote("3"), "with it"
    assert lost not in place.tag("3")


def test_a_refusal_is_not_repeated(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Until something it depends on changes: the rules, the champion, what is known of the version."""
    assert not place.promote("2")
    said = place.tag("2", "verdict_artifact")
    judged = []

    def counted(*arguments: Any) -> Any:
        judged.append(arguments)
        return comparing.compared(*arguments)

    monkeypatch.setattr(promote, "compared", counted)
    capsys.readouterr()
    assert not place.promote("2")
    shown = capsys.readouterr().out
    assert f"the verdict: {said} of run " in shown
    assert "models:/rdmc/2 was refused on 2" in shown
    assert (judged, place.entries(), place.tag("2", "verdict_artifact")) == ([], 1, said)
    assert not place.promote("2", margin=0.1)
    place.client.set_model_version_tag("rdmc", "2", "leaks", "3")
    assert not place.promote("2")
    assert place.promote("1")
    assert not place.promote("2")
    assert (len(judged), place.entries()) == (4, 5)


def test_who_only_looks_changes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.promote("1")
    place.client.set_registered_model_alias("rdmc", "champion", "2")
    capsys.readouterr()
    for act in (models, history):
        act.run(Project(place.params, Settings(), Paths()))
        assert "champion is version 2, but 1 by the history; the next promote" in capsys.readouterr().out
    history.run(Project(place.params, Settings(), Paths()), as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert (place.champion(), place.entries()) == (2, 1)
