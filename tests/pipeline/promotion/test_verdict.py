"""Verdicts in a version's run, tags and description."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.evaluation.model_figures import ImageIdentity, ModelFigures
from pipeline.promotion.gate import Check, Verdict
from pipeline.promotion.verdict import DESCRIPTION, described, file_verdict, images_csv
from pipeline.registry.versions import find_version

IMAGES = (ImageIdentity("light", "a,1", "d1", "light/a"), ImageIdentity("heavy", "b", "d2", "light/a"))
FIGURES = [
    ModelFigures("version 2", IMAGES, (30.0, 31.5), (0.9, 0.95)),
    ModelFigures("version 1", IMAGES, (29.0, float("nan")), (0.8, 0.85)),
]


def make_verdict(passed: bool, text: str = "overall +0.50 dB") -> Verdict:
    return Verdict("version 2", "version 1", (Check("overall", passed, text),), 2, 1)


def test_a_later_verdict_replaces_the_earlier_one_in_the_description() -> None:
    first = described("A network.", make_verdict(False), "verdicts/1")
    assert first.startswith("A network.\n\n## Verdict: refused, against version 1")
    assert "- **fails**: overall +0.50 dB" in first
    second = described(first, make_verdict(True), "verdicts/2")
    assert second.startswith("A network.\n\n## Verdict: passed, against version 1")
    assert second.count("## Verdict") == 1
    assert "verdicts/1" not in second


def test_a_long_description_fits_into_mlflow() -> None:
    text = described("x" * 4000, make_verdict(True, "y" * 4000), "verdicts/1")
    assert len(text) <= DESCRIPTION
    assert text.startswith("x" * 4000 + "\n\n## Verdict")


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
