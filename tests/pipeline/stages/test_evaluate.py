"""``evaluate`` on small packed datasets: figures as computed by hand, pictures, repeatability, and missing inputs."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.evaluation import evaluator as measuring
from pipeline.stages import evaluate
from rdmc.checkpoint import load_model
from rdmc.data.images import read_rgb
from rdmc.data.loader import PairStore
from rdmc.errors import CheckpointError, DataError
from rdmc.inference import derain_image
from rdmc.metrics import measure

MakePaths = Callable[..., Paths]


def test_figures_and_pictures_are_right_and_repeatable(
    tmp_path: Path, params: Params, make_workspace: MakePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make_workspace(tmp_path)
    evaluate.run(Project(params, Settings(), paths))
    rows = list(csv.DictReader(paths.images.open()))
    figures = json.loads(paths.evaluate_metrics.read_text())

    kinds = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
    columns = [f"{side}_{kind}" for side in ("rainy", "derained") for kind in kinds]
    assert list(rows[0]) == ["dataset", "image", "scene", "height", "width", *columns, "gain_psnr_y", "seconds"]
    assert len({row["scene"] for row in rows}) == 5, "no photograph is in both datasets"
    assert [(row["dataset"], row["image"]) for row in rows] == [
        *(("light", f"test-{i}") for i in range(3)),
        *(("heavy", f"test-{i}") for i in range(2)),
    ]
    network = load_model(paths.best)[0]
    store = PairStore([paths.shards("light")], "test")
    by_hand = [measure(derain_image(network, store[i].rainy), store[i].clean) for i in range(3)]
    before = [measure(store[i].rainy, store[i].clean) for i in range(3)]
    for row, figure in zip(rows, by_hand, strict=False):
        assert float(row["derained_ssim_rgb"]) == pytest.approx(figure["ssim_rgb"], abs=1e-6)
    light = figures["light"]
    assert light["derained"] == {kind: pytest.approx(np.mean([f[kind] for f in by_hand]), abs=1e-6) for kind in kinds}
    assert light["rainy"]["psnr_y"] == pytest.approx(np.mean([f["psnr_y"] for f in before]), abs=1e-6)
    assert light["gain_psnr_y"] == pytest.approx(light["derained"]["psnr_y"] - light["rainy"]["psnr_y"], abs=2e-6)
    overall = [float(row["gain_psnr_y"]) for row in rows]
    assert figures["overall"]["gain_psnr_y"] == pytest.approx(np.mean(overall), abs=2e-6), "each image counts once"
    assert [figures[name]["images"] for name in ("light", "heavy", "overall")] == [3, 2, 5]

    names = sorted(path.name for path in paths.pictures.iterdir())
    assert len(names) == 2 * params.evaluate.pictures + 1
    assert "gain.png" in names
    assert read_rgb(paths.pictures / "heavy-test-1.png").shape[1] > 2 * 56
    shown = capsys.readouterr().out
    assert "overall" in shown
    assert "PSNR-Y" in shown

    pictures = {path.name: path.read_bytes() for path in paths.pictures.iterdir()}
    evaluate.run(Project(params, Settings(), paths))
    assert json.loads(paths.evaluate_metrics.read_text()) == figures
    assert {path.name: path.read_bytes() for path in paths.pictures.iterdir()} == pictures


def test_a_dataset_without_test_pairs_is_reported(
    tmp_path: Path, params: Params, make_workspace: MakePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make_workspace(tmp_path, tests=(0, 1))
    evaluate.run(Project(params, Settings(), paths))
    assert "light: no test pairs" in capsys.readouterr().out
    assert list(json.loads(paths.evaluate_metrics.read_text())) == ["heavy", "overall"]


def test_missing_test_pairs_model_or_shards_are_refused(tmp_path: Path, params: Params, make_workspace: MakePaths) -> None:
    paths = make_workspace(tmp_path / "none", tests=(0, 0))
    with pytest.raises(DataError, match="light, heavy: no test pairs"):
        evaluate.run(Project(params, Settings(), paths))
    assert not paths.pictures.exists()
    assert not paths.evaluate_metrics.exists()
    paths = make_workspace(tmp_path / "untrained")
    shutil.rmtree(paths.best)
    with pytest.raises(CheckpointError, match="no such model folder"):
        evaluate.run(Project(params, Settings(), paths))
    with pytest.raises(DataError, match="manifest"):
        evaluate.run(Project(params, Settings(), Paths(tmp_path / "empty")))


def test_the_settings_can_exclude_the_gpu(
    tmp_path: Path, params: Params, make_workspace: MakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make_workspace(tmp_path, tests=(1, 0))
    monkeypatch.setattr(measuring, "best_device", lambda: pytest.fail("the GPU would be used"))
    evaluate.run(Project(params, Settings(gpu=False), paths))


def test_one_photograph_in_two_datasets_is_one_scene(tmp_path: Path, params: Params, make_workspace: MakePaths) -> None:
    stores = measuring.open_tests(Project(params, Settings(), make_workspace(tmp_path)))
    results = {
        name: list(measuring.measured(torch.nn.Identity(), store, name, params.evaluate, torch.device("cpu")))
        for name, store in stores.items()
    }
    results["heavy"][0] = replace(results["heavy"][0], clean=results["light"][2].clean)
    scenes = evaluate.scenes_by_dataset(stores, results)
    assert scenes["heavy"][0] == scenes["light"][2]
    assert len({*scenes["light"], *scenes["heavy"]}) == 4
