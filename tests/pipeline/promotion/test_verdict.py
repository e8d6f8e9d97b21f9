"""Verdicts in a version's run, tags and description."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.evaluation.model_figures import ImageIdentity, ModelFigures
from pipeline.promotion.gate import Check, Verdict
from pipeline.promotion.log import LogEntry, PromotionLog
from pipeline.promotion.verdict import (
    DESCRIPTION,
    LONGEST,
    described,
    file_verdict,
    images_csv,
    rains_csv,
    reign,
    show_reign,
    with_reign,
)
from pipeline.registry.versions import find_version

IMAGES = (ImageIdentity("light", "a,1", "d1", "light/a"), ImageIdentity("heavy", "b", "d2", "light/a"))
FIGURES = [
    ModelFigures("version 2", IMAGES, (30.0, 31.5), (0.9, 0.95)),
    ModelFigures("version 1", IMAGES, (29.0, float("nan")), (0.8, 0.85)),
]


def make_verdict(passed: bool, text: str = "overall +0.50 dB") -> Verdict:
    return Verdict("version 2", "version 1", (Check("overall", passed, text),), 2, 1)


def test_a_later_verdict_replaces_the_earlier_one_in_the_description() -> None:
    first = described("A network.", make_verdict(False), "#/verdicts/1")
    assert first.startswith("A network.\n\n## Verdict: refused, against version 1")
    assert "- **fails**: overall +0.50 dB" in first
    second = described(first, make_verdict(True), "#/verdicts/2")
    assert second.startswith("A network.\n\n## Verdict: passed, against version 1")
    assert second.count("## Verdict") == 1
    assert "verdicts/1" not in second


def test_a_long_description_fits_into_mlflow() -> None:
    text = described("x" * 4000, make_verdict(True, "y" * 4000), "verdicts/1")
    assert len(text) <= DESCRIPTION
    assert text.startswith("x" * 4000 + "\n\n## Verdict")
    assert len(described("x" * 5000, make_verdict(True), "verdicts/1")) <= DESCRIPTION + 2, "no room is left"


def test_the_table_of_images_has_the_figures_of_both_models() -> None:
    rows = list(csv.DictReader(io.StringIO(images_csv(FIGURES))))
    assert rows[0] == {
        "dataset": "light",
        "image": "a,1",
        "scene": "light/a",
        "digest": "d1",
        "version 2 psnr_y": "30.000000",
        "version 2 ssim_y": "0.900000",
        "version 1 psnr_y": "29.000000",
        "version 1 ssim_y": "0.800000",
    }
    assert rows[1]["version 1 psnr_y"] == "nan"


def test_each_verdict_has_its_own_folder(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(store, store)
    experiment = client.create_experiment("verdicts", artifact_location=(tmp_path / "artifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    client.create_registered_model("rdmc")
    client.create_model_version("rdmc", "file:///nowhere", run, description="A network.", await_creation_for=0)
    folders = []
    for passed in (False, True):
        version = find_version(client, "rdmc", "1")
        folders.append(file_verdict(client, version, make_verdict(passed), FIGURES, "abc123"))
    assert len(set(folders)) == 2
    assert all(folder.startswith("verdicts/rdmc-1-") and folder.endswith("-abc123") for folder in folders)
    for folder, passed in zip(folders, (False, True), strict=True):
        files = Path(client.download_artifacts(run, folder, str(tmp_path)))
        assert sorted(path.name for path in files.iterdir()) == ["images.csv", "verdict.json", "verdict.md"]
        assert json.loads((files / "verdict.json").read_text())["passed"] is passed
    last = find_version(client, "rdmc", "1")
    assert last.tags["verdict"] == "passed: overall +0.50 dB"
    assert last.tags["verdict_artifact"] == folders[1]
    assert last.description.startswith("A network.\n\n## Verdict: passed")


def entry(number: int, kind: str, after: int, verdict: str = "", why: str = "", document: str = "") -> LogEntry:
    return LogEntry(number, kind, number - 1, 7, after, "ada@host", "2026-01-31", verdict, why, str(number), True, document)


def test_the_champions_page_has_the_verdict_by_which_it_reigns() -> None:
    entries = (
        entry(1, "promote", 1, "passed: overall +9 dB", document="verdicts/one"),
        entry(2, "force", 2, "refused: overall -1 dB", "a new sensor"),
        entry(3, "rollback", 1, "", "it rained"),
        entry(4, "adopt", 5),
    )
    texts = [reign(PromotionLog(entries[:count]), lambda folder: f"#/{folder}") for count in (1, 2, 3, 4)]
    assert texts[0].startswith("## Made champion: 2026-01-31\n\nIt passed the gate. By ada@host; champion before: 7.")
    verdict = "The verdict by which it reigns ([the whole verdict](#/verdicts/one)): passed: overall +9 dB"
    assert texts[0].endswith(verdict)
    assert "promoted by force, although the gate refused it. Reason: a new sensor." in texts[1]
    assert texts[1].endswith("The verdict by which it reigns: refused: overall -1 dB")
    assert "came back by a rollback. Reason: it rained." in texts[2]
    assert texts[2].endswith(verdict), "that of its promotion"
    assert texts[3].endswith("The gate has not judged it.")
    long = PromotionLog((entry(1, "promote", 1, "passed: " + "x" * 3000),))
    assert len(reign(long, str)) == LONGEST


def test_a_later_refusal_leaves_the_reign_on_the_page() -> None:
    judged = described("A network.", make_verdict(True), "#/1")
    champion = with_reign(judged, "## Made champion: Monday")
    assert champion.startswith("A network.\n\n## Made champion: Monday\n\n## Verdict: passed")
    refused = described(champion, make_verdict(False), "#/2")
    assert refused.startswith("A network.\n\n## Made champion: Monday\n\n## Verdict: refused")
    again = with_reign(refused, "## Made champion: Friday")
    assert again.startswith("A network.\n\n## Made champion: Friday\n\n## Verdict: refused")
    assert with_reign("A network.", "## Made champion: Monday") == "A network.\n\n## Made champion: Monday"


def test_a_deleted_champion_has_no_page_to_write_on(store: str) -> None:
    show_reign(MlflowClient(store, store), "rdmc", PromotionLog((entry(1, "promote", 3),)))


def test_the_table_of_rains_has_the_gains_of_each_photograph() -> None:
    new = replace(FIGURES[0], rains={"the base rain": (6.0, 7.5), "angle 60": (1.0, -2.0)})
    old = replace(FIGURES[1], rains={"the base rain": (5.0, 7.0), "angle 60": (0.5, -1.0)})
    rows = list(csv.DictReader(io.StringIO(rains_csv([new, old]))))
    assert [(row["rain"], row["photograph"]) for row in rows] == [
        *(("the base rain", "0"), ("the base rain", "1"), ("angle 60", "0"), ("angle 60", "1"))
    ]
    assert [float(row["version 2 gain_psnr_y"]) for row in rows] == [6, 7.5, 1, -2]
    assert [float(row["version 1 gain_psnr_y"]) for row in rows] == [5, 7, 0.5, -1]
    assert "version 1 gain" not in rains_csv([new, FIGURES[1]]), "the rainy input has no gains"
