"""An evaluation that was stopped goes on; other weights, data or rules begin anew; workers of Ray give the same figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_overrides
from pipeline.config.settings import Settings
from pipeline.evaluation import resumed
from pipeline.evaluation.abreast import SharedNetwork
from pipeline.evaluation.evaluator import ImageResult, measured, measured_pair, open_tests
from pipeline.evaluation.resumed import Evaluation
from rdmc.checkpoint import load_model, write_model
from rdmc.data.images import Image
from rdmc.inference import derain_image
from tests.support.comparison import small_network

CPU = torch.device("cpu")


@pytest.fixture
def project(tmp_path: Path, params: Params, make_workspace: Callable[..., Paths]) -> Project[Params]:
    """Three test images of ``light``, two of ``heavy``."""
    return Project(params, Settings(gpu=False, workers=1), make_workspace(tmp_path))


def evaluation(project: Project[Params]) -> Evaluation:
    return Evaluation(project, load_model(project.paths.best)[0], open_tests(project), CPU)


def without_times(results: dict[str, list[ImageResult]]) -> dict[str, list[ImageResult]]:
    return {name: [replace(result, seconds=0.0) for result in found] for name, found in results.items()}


def counted(patch: pytest.MonkeyPatch, most: int = 1000) -> list[str]:
    """The images that are measured from now on; after ``most`` of them the process is stopped."""
    seen: list[str] = []
    lock = Lock()

    def counting(shared: Any, pair: Any, dataset: str) -> tuple[ImageResult, Image]:
        with lock:
            if len(seen) == most:
                raise KeyboardInterrupt
            seen.append(pair.key)
        return measured_pair(shared, pair, dataset)

    patch.setattr(resumed, "measured_pair", counting)
    return seen


def test_a_stopped_evaluation_goes_on_with_the_images_that_are_left(
    project: Project[Params], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network, rules = load_model(project.paths.best)[0], project.params.evaluate
    whole = {name: list(measured(network, store, name, rules, CPU)) for name, store in open_tests(project).items()}
    with monkeypatch.context() as patch:
        first = counted(patch, most=2)
        with pytest.raises(KeyboardInterrupt):
            evaluation(project).results()
    seen = counted(monkeypatch)
    after = evaluation(project)
    found = after.results()
    assert without_times(found) == without_times(whole)
    assert sorted([*first, *seen]) == sorted({*first, *seen}), "no image was measured twice"
    assert len(seen) == 3
    assert "2 of 5 images were finished" in capsys.readouterr().out
    after.forget()
    assert list(project.paths.journals.iterdir()) == []
    evaluation(project).results()
    assert len(seen) == 8, "a finished evaluation is measured again"


def test_other_weights_or_rules_begin_anew(project: Project[Params], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation(project).results()
    seen = counted(monkeypatch)
    evaluation(project).results()
    assert seen == [], "the results were not written yet"
    other = replace(project, params=with_overrides(project.params, {"evaluate.tile": 256}))
    evaluation(other).results()
    assert len(seen) == 5
    network = small_network(7)
    write_model(project.paths.best, network.config, network.state_dict(), {"step": 1})
    evaluation(project).results()
    assert len(seen) == 10


def test_an_image_that_equals_its_clean_one_is_known() -> None:
    figures = {"psnr_y": 100.0, "ssim_y": 1.0, "psnr_rgb": 100.0, "ssim_rgb": 1.0}
    one = ImageResult("light", "a", 8, 8, figures, figures, 0.1, "abc", "CPU")
    assert one.identical
    assert not replace(one, derained={**figures, "psnr_rgb": 99.0}).identical
    assert ImageResult(**asdict(one)) == one


def test_pictures_are_kept_up_to_a_limit_and_derained_again_beyond_it(
    project: Project[Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, places = load_model(project.paths.best)[0], [("light", 0), ("light", 2), ("heavy", 1)]
    expected = [derain_image(network, open_tests(project)[name][at].rainy) for name, at in places]
    derained: list[tuple[int, ...]] = []

    class Counting(SharedNetwork):
        def __call__(self, rainy: Image) -> tuple[Image, float]:
            derained.append(rainy.shape)
            return super().__call__(rainy)

    monkeypatch.setattr(resumed, "SharedNetwork", Counting)
    for room, again in ((resumed.KEPT, 0), (2 * expected[0].nbytes, 2)):
        monkeypatch.setattr(resumed, "KEPT", room)
        one = evaluation(project)
        one.results()
        derained.clear()
        found = list(one.pictures(places))
        assert [pair.key for pair, _ in found] == ["light/test-0", "light/test-2", "heavy/test-1"]
        assert all(np.array_equal(picture, known) for (_, picture), known in zip(found, expected, strict=True))
        assert len(derained) == again
        one.forget()
    evaluation(project).results()
    derained.clear()
    assert len(list(evaluation(project).pictures(places))) == 3, "after a kill none is in memory"
    assert len(derained) == 3
