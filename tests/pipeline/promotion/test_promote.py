"""``promote`` with real models on packed data, in a real SQLite store."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.evaluation import rain_maps
from pipeline.evaluation.paired import compared
from pipeline.promotion import history, models, promote, rollback
from pipeline.registry.client import registry
from pipeline.registry.versions import find_version
from rdmc.errors import CheckpointError, ConfigError, DataError, ServiceError
from tests.support.registry import PromotionStore


def test_promote_refuse_force_and_roll_back(
    versions: PromotionStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step has its verdict, and the history has all of them."""
    monkeypatch.setattr(console, "width", 1000)
    assert not versions.promote("2"), "worse than the rainy input"
    assert versions.champion() == 0
    assert versions.promote("1"), "the first has to beat the rainy input"
    assert versions.promote("candidate")
    assert versions.champion() == 3
    shown = capsys.readouterr().out
    assert "models:/rdmc@champion is version 3 now, before: 1" in shown
    assert versions.promote("3"), "it is the champion already"
    assert "nothing to promote" in capsys.readouterr().out
    assert not versions.promote("2")
    with pytest.raises(ConfigError, match="--force: needs a reason"):
        versions.promote("2", force=True, reason=" ")
    assert versions.promote("2", force=True, reason="a demonstration")
    assert versions.champion() == 2
    rollback.run(versions.project, "it rained")
    assert versions.champion() == 3

    capsys.readouterr()
    history.run(versions.project, as_json=True)
    entries = json.loads(capsys.readouterr().out)
    steps = [(entry["kind"], entry["before"], entry["after"], entry["why"]) for entry in entries]
    assert steps == [
        ("refuse", 0, 2, ""),
        ("promote", 0, 1, ""),
        ("promote", 1, 3, ""),
        ("refuse", 3, 2, ""),
        ("force", 3, 2, "a demonstration"),
        ("rollback", 2, 3, "it rained"),
    ]
    assert all(entry["counts"] == (entry["kind"] != "refuse") for entry in entries)
    history.run(versions.project)
    assert "a demonstration" in capsys.readouterr().out

    with registry(Settings()) as client:
        version = find_version(client, "rdmc", "3")
    assert version.tags["verdict"].startswith("passed: overall +")
    assert "## Verdict: passed, against version 1" in version.description
    assert version.description.startswith("RDMC"), "what register wrote stays"
    folder = Path(versions.client.download_artifacts(version.run_id, version.tags["verdict_artifact"]))
    verdict = json.loads((folder / "verdict.json").read_text())
    checks = {check["name"]: check for check in verdict["checks"]}
    assert verdict["scenes"] == 6, "light and heavy show the same scenes"
    assert verdict["images"] == 12
    assert checks["overall"]["low"] > 0
    assert (folder / "verdict.md").read_text().startswith("# version 3 against version 1: passed")
    rows = list(csv.DictReader((folder / "images.csv").open()))
    mean = float(versions.client.get_run(version.run_id).data.metrics["test/heavy/derained/psnr_y"])
    heavy = [float(row["version 3 psnr_y"]) for row in rows if row["dataset"] == "heavy"]
    assert sum(heavy) / 6 == pytest.approx(mean, abs=1e-5), "as evaluate measured it"
    assert len({row["scene"] for row in rows}) == 6

    assert not versions.promote("2"), "a version that was rolled back is refused"
    assert "rolled back on" in versions.client.get_model_version("rdmc", "2").tags["verdict"]


def test_a_model_below_the_floor_of_robustness_is_refused(versions: PromotionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule is off by default. On, it has a file of its own, and another floor is another verdict."""
    monkeypatch.setattr(rain_maps, "MAPS", (("angle", "density"),))
    monkeypatch.setattr(rain_maps, "LEVELS", {name: values[2:3] for name, values in rain_maps.LEVELS.items()})
    monkeypatch.setattr(rain_maps, "SIDE", 32)
    asked = {"images": 8, "floor": 90.0, "tolerance": 50.0}
    assert not versions.promote("1", robustness=asked)
    assert "robustness floor" in versions.tag("1")
    assert versions.promote("1", robustness={**asked, "floor": -90.0})
    assert versions.promote("3", robustness={**asked, "floor": -90.0})
    tags = versions.client.get_model_version("rdmc", "3").tags
    run_id = str(versions.client.get_model_version("rdmc", "3").run_id)
    folder = Path(versions.client.download_artifacts(run_id, tags["verdict_artifact"]))
    names = [check["name"] for check in json.loads((folder / "verdict.json").read_text())["checks"]]
    assert {"robustness floor", "robustness"} <= set(names)
    rows = list(csv.DictReader((folder / "rains.csv").open()))
    assert len(rows) == 8
    assert {"version 3 gain_psnr_y", "version 1 gain_psnr_y"} <= set(rows[0])


def test_the_champions_page_says_by_which_verdict_it_reigns(versions: PromotionStore) -> None:
    """After a promotion, one by force, a rollback, and a refusal since."""

    def page(number: str) -> str:
        whole = str(versions.client.get_model_version("rdmc", number).description)
        return whole.partition("## Made champion: ")[2].partition("## Verdict")[0]

    assert versions.promote("3")
    assert "It passed the gate." in page("3")
    assert versions.promote("2", force=True, reason="a demonstration")
    assert "promoted by force, although the gate refused it. Reason: a demonstration." in page("2")
    rollback.run(versions.project, "it rained")
    assert not versions.promote("2"), "it was rolled back"
    assert "It came back by a rollback. Reason: it rained." in page("3")
    assert "/verdict.md?workflowType=machine_learning)): passed: overall +" in page("3"), "the verdict of its promotion"
    assert page("1") == "", "never the champion"


def test_the_champion_trained_again_has_nothing_to_promote(
    versions: PromotionStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert versions.promote("1")
    first = versions.client.get_model_version("rdmc", "1")
    again = versions.client.create_model_version("rdmc", str(first.source), first.run_id, tags=dict(first.tags))
    number, entries = str(again.version), versions.entries()
    for name in first.tags:
        if name.startswith("verdict"):
            versions.client.delete_model_version_tag("rdmc", number, name)
    capsys.readouterr()
    assert versions.promote(number, margin=0.0), "exit code 0"
    assert f"models:/rdmc/{number} has the weights of the champion, version 1: nothing to promote" in capsys.readouterr().out
    assert promote.run(versions.project, number, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["champion"], told["before"]) == ("champion's weights", False, 1)
    assert (versions.champion(), versions.entries(), versions.tag(number)) == (1, entries, "")
    assert versions.promote(number, force=True, reason="its code is committed")
    assert "its weights are those of the champion, version 1" in versions.tag(number)
    assert versions.champion() == int(number)


def _weights(versions: PromotionStore, version: str) -> Path:
    model = versions.client.get_logged_model(
        str(versions.client.get_model_version("rdmc", version).source).removeprefix("models:/")
    )
    return next(Path(model.artifact_location.removeprefix("file://")).rglob("model.safetensors"))


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_damaged_challenger_is_an_error_and_a_damaged_champion_needs_force(versions: PromotionStore, damage: str) -> None:
    """A damaged challenger is never promoted. A damaged champion can only be replaced with --force."""
    path = _weights(versions, "3")
    kept = path.read_bytes()
    try:
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(kept[:-9] if damage == "cut" else _weights(versions, "2").read_bytes())
        with pytest.raises(CheckpointError, match=r"^models:/rdmc/3: .*; (register it again|the artifact is damaged)"):
            versions.promote("3", force=True, reason="never")
        assert versions.champion() == 0
        versions.client.set_registered_model_alias("rdmc", "champion", "3")
        with pytest.raises(
            CheckpointError, match="^the champion cannot be loaded, so there is nothing to compare with: models:/rdmc/3"
        ):
            versions.promote("1")
        assert versions.champion() == 3
        assert versions.promote("1", force=True, reason="its files are gone")
        assert "the champion could not be loaded" in versions.client.get_model_version("rdmc", "1").tags["verdict"]
        with pytest.raises(CheckpointError, match="^models:/rdmc/3"):
            rollback.run(versions.project)
        assert versions.champion() == 1
    finally:
        path.write_bytes(kept)


def test_a_verdict_is_void_if_the_champion_changes_during_the_evaluation(
    versions: PromotionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict compares with the champion before."""
    versions.promote("1")

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(promote, "compared", compared)
        assert versions.promote("2", force=True, reason="the other one")
        return compared(*arguments)

    monkeypatch.setattr(promote, "compared", slow)
    with pytest.raises(ServiceError, match="version 3 was not promoted: another command made version 2 the champion meanwhile"):
        versions.promote("3")
    assert versions.champion() == 2
    history.run(versions.project)


def test_a_champion_without_its_alias_still_defends(versions: PromotionStore) -> None:
    """Version 1 is better than the rainy input and worse than version 3, which was the champion."""
    assert versions.promote("3")
    versions.client.delete_registered_model_alias("rdmc", "champion")
    assert not versions.promote("1")
    assert versions.tag("1").startswith("refused: overall -")
    with pytest.raises(ServiceError, match=r"^models:/rdmc/3: was models:/rdmc@champion until that was lost; .* rollback`"):
        versions.promote("3")
    rollback.run(versions.project)
    assert versions.champion() == 3


def test_deleted_champions_are_skipped(versions: PromotionStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A challenger and a rollback meet the last champion that exists. If none does, only --force promotes."""
    assert versions.promote("1")
    assert versions.promote("3")
    versions.client.delete_model_version("rdmc", "3")
    assert not versions.promote("2")
    verdict = json.loads((versions.document("2") / "verdict.json").read_text())
    assert verdict["champion"] == "version 1"
    assert verdict["facts"]["champions since then that were deleted"] == "3"
    assert versions.promote("2", force=True, reason="a demonstration")
    rollback.run(versions.project)
    assert versions.champion() == 1
    assert "passed over version 3: deleted from the registry" in capsys.readouterr().out
    versions.client.delete_model_version("rdmc", "1")
    with pytest.raises(ServiceError, match="^the champion cannot be loaded, .*: version 1: deleted from the registry; or"):
        versions.promote("2")
    with pytest.raises(ServiceError, match=r"to go back to \(version 1: deleted from the registry\)"):
        rollback.run(versions.project)
    assert versions.promote("2", force=True, reason="nothing else is left")
    history.run(versions.project)
    models.run(versions.project)
    assert "settles it" not in capsys.readouterr().out


def test_a_refusal_is_not_repeated(
    versions: PromotionStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is judged again once something changes: the rules, the champion, the version's tags, or the code that judges."""
    assert not versions.promote("2")
    document = versions.tag("2", "verdict_artifact")
    judged = []

    def counting(*arguments: Any) -> Any:
        judged.append(arguments)
        return compared(*arguments)

    monkeypatch.setattr(promote, "compared", counting)
    capsys.readouterr()
    assert not versions.promote("2")
    shown = capsys.readouterr().out
    assert f"the verdict: {document} of run " in shown
    assert "models:/rdmc/2 was refused on 2" in shown
    assert (judged, versions.entries(), versions.tag("2", "verdict_artifact")) == ([], 1, document)
    assert not versions.promote("2", margin=0.1)
    versions.client.set_model_version_tag("rdmc", "2", "leaks", "3")
    assert not versions.promote("2")
    assert versions.promote("1")
    assert not versions.promote("2")
    assert (len(judged), versions.entries()) == (4, 5)
    monkeypatch.setattr(promote, "measuring_code", lambda folder: ["mended", folder])
    assert not versions.promote("2")
    assert (len(judged), versions.entries()) == (5, 6)


def test_versions_that_cannot_be_judged(versions: PromotionStore, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"^9: no version or alias of 'rdmc' \(there are 1, 2, 3, candidate\); name another"):
        versions.promote("9")
    versions.client.create_model_version("rdmc", "file:///nowhere", await_creation_for=0)
    with pytest.raises(ServiceError, match="models:/rdmc/4: has no MLflow run"):
        versions.promote("4")
    with pytest.raises(DataError, match="light"):
        promote.run(replace(versions.project, paths=Paths(tmp_path)), "1")
    assert versions.champion() == 0


def test_unknown_data_and_missing_lineage_are_refused(versions: PromotionStore) -> None:
    versions.client.delete_model_version_tag("rdmc", "1", "leaks")
    assert not versions.promote("1")
    assert "leaks" in versions.tag("1")
    versions.client.set_model_version_tag("rdmc", "3", "data.light", "other")
    assert not versions.promote("3")
    assert "registered with other data than is here (light)" in versions.tag("3")


def test_a_dataset_that_is_dropped_from_the_params_is_defended(versions: PromotionStore) -> None:
    assert versions.promote("1")
    fewer = versions.params.model_copy(update={"datasets": {"light": versions.params.datasets["light"]}})
    assert not promote.run(replace(versions.project, params=fewer), "3")
    lost = "version 1 was measured on heavy, which has no test images here; name it in params.yaml again"
    assert lost in versions.tag("3")
    assert versions.promote("3"), "with the dataset"
    assert lost not in versions.tag("3")
