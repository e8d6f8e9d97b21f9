"""The work of one worker in this process: its data, its run, its checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.config.settings import Settings
from pipeline.training.worker import Work, training
from rdmc.checkpoint import load_model
from rdmc.data.loader import PairStore
from rdmc.errors import DataError
from rdmc.training.loop import Run
from rdmc.training.speed import Speed
from tests.support.data import LIGHT, make_dataset, tiny_params

SETTINGS = Settings(workers=1, gpu=False)
CPU = torch.device("cpu")


@pytest.mark.usefixtures("one_thread")
def test_a_worker_trains_on_the_project_s_data_and_writes_checkpoints_with_their_facts(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    make_dataset(paths, "light", {"train": 4, "validation": 1})
    params = tiny_params({**LIGHT, "seed": 7, "network.passes": 1, "train.steps": 2, "train.validate_every": 2})
    work = Work.open(Project(params, SETTINGS, paths), CPU, training)
    assert (len(work.train), len(work.validation)) == (4, 1)
    *_, last = work.reports()
    assert last.step == work.run.step == 2
    assert last.validation
    (tmp_path / "saved").mkdir()
    work.save(tmp_path / "saved", last)
    network, facts = load_model(tmp_path / "saved")
    assert network.config == params.network
    assert (facts["seed"], facts["datasets"], facts["step"]) == (7, ["light"], 2)
    assert facts["data"] == PairStore([paths.shards("light")], "train").digest
    assert facts["validation"] == last.validation


@pytest.mark.usefixtures("one_thread")
def test_a_dataset_without_training_pairs_only_validates(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    make_dataset(paths, "light", {"train": 4, "validation": 1})
    make_dataset(paths, "heavy", {"validation": 2, "test": 1})
    heavy = {"source": "embedded", "rain": "heavy", "variants": 0}
    params = tiny_params(
        {"datasets": {"heavy": heavy, **LIGHT["datasets"]}, "train.weights": {"heavy": 3}, "train.crops_per_decode": 2}
    )
    work = Work.open(Project(params, SETTINGS, paths), CPU, training)
    assert [key.partition("/")[0] for key, _ in work.train.labels()] == ["light"] * 4
    assert [key.partition("/")[0] for key, _ in work.validation.labels()] == ["heavy"] * 2 + ["light"]
    *_, last = work.reports()
    assert last.step == params.train.steps
    assert last.validation
    assert work.train.digest == PairStore([paths.shards("heavy"), paths.shards("light")], "test").digest


def test_the_run_is_made_from_the_params_after_the_data_are_opened(tmp_path: Path) -> None:
    paths, params, made = Paths(tmp_path), tiny_params(LIGHT), list[tuple[Recipe, torch.device, Speed]]()

    def make(recipe: Recipe, device: torch.device, speed: Speed) -> Run:
        made.append((recipe, device, speed))
        return training(recipe, device)

    with pytest.raises(DataError):
        Work.open(Project(params, SETTINGS, paths), CPU, make)
    assert made == [], "no network without data"
    make_dataset(paths, "light", {"train": 1})
    work = Work.open(Project(params, SETTINGS.model_copy(update={"compile": True}), paths), CPU, make)
    assert made == [(params, CPU, Speed(compile=True))]
    assert len(work.validation) == 0, "validation pairs are optional"
