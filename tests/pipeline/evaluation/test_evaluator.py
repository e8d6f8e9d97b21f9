"""Figures of a model on test images, against the figures of each pair computed here."""

from __future__ import annotations

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
from pipeline.evaluation import evaluator
from pipeline.evaluation.evaluator import ImageResult, device_of, measured, open_tests, summary
from rdmc.checkpoint import load_model
from rdmc.errors import DataError
from rdmc.inference import derain_image
from rdmc.metrics import measure

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, params: Params, make_workspace: Callable[..., Paths]) -> Project[Params]:
    """Three test images of ``light``, none of ``heavy``."""
    return Project(params, Settings(gpu=False), make_workspace(tmp_path_factory.mktemp("project"), tests=(3, 0)))


def result(dataset: str, rainy: float, derained: float) -> ImageResult:
    return ImageResult(dataset, "a", 8, 8, {"psnr_y": rainy}, {"psnr_y": derained}, 0.1, "", "CPU")


def test_a_dataset_without_test_pairs_is_named_and_left_out(
    project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(open_tests(project)) == ["light"]
    assert "heavy: no test pairs, not evaluated" in capsys.readouterr().out


def test_no_test_pairs_at_all_is_an_error(tmp_path: Path, params: Params, make_workspace: Callable[..., Paths]) -> None:
    empty = Project(params, Settings(), make_workspace(tmp_path, tests=(0, 0)))
    with pytest.raises(DataError, match="^light, heavy: no test pairs; give one a `test` in params.yaml"):
        open_tests(empty)


def test_every_pair_is_measured_in_order(project: Project[Params]) -> None:
    network, store = load_model(project.paths.best)[0], open_tests(project)["light"]
    results = list(measured(network, store, "light", project.params.evaluate, CPU))
    assert [found.image for found in results] == [store[index].key.partition("/")[2] for index in range(3)]
    for index, found in enumerate(results):
        pair = store[index]
        derained = derain_image(network, pair.rainy, project.params.evaluate.tile, CPU)
        assert (found.dataset, found.height, found.width) == ("light", *pair.rainy.shape[:2])
        assert found.rainy == measure(pair.rainy, pair.clean)
        assert found.derained == measure(derained, pair.clean)
        assert found.gain == found.derained["psnr_y"] - found.rainy["psnr_y"]
        assert found.seconds > 0


def test_the_overall_mean_counts_each_image_once() -> None:
    results = {"light": [result("light", 20.0, 23.0), result("light", 22.0, 26.0)], "heavy": [result("heavy", 10.0, 20.0)]}
    means = summary(results)
    assert means["light"] == {"rainy": {"psnr_y": 21.0}, "derained": {"psnr_y": 24.5}, "gain_psnr_y": 3.5, "images": 2}
    assert means["overall"]["images"] == 3
    assert means["overall"]["derained"]["psnr_y"] == pytest.approx(np.mean([23.0, 26.0, 20.0]))
    slower = {name: [replace(found, seconds=9.0) for found in group] for name, group in results.items()}
    assert summary(slower) == means, "times do not count"


def test_the_settings_can_forbid_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "best_device", lambda: torch.device("meta"))
    assert device_of(Settings(gpu=False)) == CPU
    assert device_of(Settings()) == torch.device("meta")
