"""A version registered before the code moved: today's code loads, serves, promotes, compares and rebuilds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params, read_params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.evaluation.evaluator import open_tests
from pipeline.promotion import history, models, promote
from pipeline.registry import diff
from pipeline.registry.versions import load_version, named_version
from pipeline.serving.model_loader import FollowedModel
from pipeline.stages import evaluate, register
from rdmc.checkpoint import load_model, write_model
from rdmc.inference import derain_image
from rdmc.metrics import psnr_y
from tests.support.earlier import unpack_earlier
from tests.support.project import run

FIRST = "models:/rdmc/1"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project[Params]]:
    """The project, with its folder as the working folder."""
    root = unpack_earlier(tmp_path_factory.mktemp("earlier"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        yield Project(read_params(), Settings(gpu=False), Paths())


def test_it_loads_and_serves_with_the_figures_that_were_measured(project: Project[Params], tmp_path: Path) -> None:
    network = load_version(named_version(FIRST, project.settings), project.settings)
    pairs = open_tests(project)["tiny"]
    expected = json.loads(Path("metrics/evaluate.json").read_text())["tiny"]["derained"]["psnr_y"]
    derained = [derain_image(network, pairs[i].rainy) for i in range(len(pairs))]
    found = [psnr_y(image, pairs[i].clean) for i, image in enumerate(derained)]
    assert np.mean(found) == pytest.approx(expected, abs=1e-4)
    served = FollowedModel("models:/rdmc@candidate", project.settings, tmp_path).current
    assert (served.version, served.name) == ("1", "rdmc")
    assert np.array_equal(derain_image(served.network, pairs[0].rainy), derained[0])
    loaded = mlflow.pyfunc.load_model(FIRST)  # its own code of then, in a process that has imported today's rdmc
    assert np.array_equal(loaded.predict(pairs[0].rainy), derained[0])


def _change_a_weight(folder: Path) -> None:
    """Write the model of ``folder`` again with another weight, which changes no figure by as much as 0.0001 dB."""
    network, facts = load_model(folder)
    weights = network.state_dict()
    weights["head.bias"][0] += 1e-8
    write_model(folder, network.config, weights, facts)


def test_it_is_promoted_and_compared_with_a_version_of_today(
    project: Project[Params], capsys: pytest.CaptureFixture[str]
) -> None:
    assert promote.run(project, "1"), "its lineage is complete and it is better than the rainy input"
    tags = MlflowClient().get_model_version("rdmc", "1").tags
    assert tags["verdict"].startswith("passed: ")
    _change_a_weight(project.paths.best)  # else the earlier version would stay the candidate
    evaluate.run(project)
    register.run(project)
    capsys.readouterr()
    diff.run(project, "1", "candidate")
    shown = capsys.readouterr().out
    assert "data: no difference" in shown
    assert "registered_commit" in shown
    assert "+0.0000" in shown, "nearly the same weights have the same figures"
    models.run(project)
    history.run(project)
    shown = capsys.readouterr().out
    assert "champion: version 1" in shown


@pytest.mark.slow
def test_it_is_rebuilt_with_the_code_of_then(project: Project[Params], tmp_path: Path) -> None:
    folder = tmp_path / "rebuilt"
    done = run(Path.cwd(), "python", "-m", "pipeline", "rebuild", "1", str(folder))
    assert "Running stage 'train'" not in done.stdout, "its weights come by their digest"
    assert (folder / "rdmc/network.py").is_file(), "the code of then"
    before, now = (json.loads((place / "metrics/evaluate.json").read_text()) for place in (Path(), folder))
    assert now["tiny"]["derained"] == pytest.approx(before["tiny"]["derained"], abs=1e-6)
