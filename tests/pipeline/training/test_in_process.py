"""A training in this process that is killed at any moment resumes and ends with the same result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.storage.runs import RunFiles
from pipeline.training.in_process import LATEST, train_here
from pipeline.training.worker import Row
from rdmc.checkpoint import load_tensors
from rdmc.errors import CheckpointError
from tests.support.data import make_dataset, tiny_params

SETTINGS = Settings(workers=1, gpu=False)
CPU = torch.device("cpu")
Train = Callable[..., tuple[list[Row], dict[str, torch.Tensor]]]


class Killed(BaseException):
    """Represents a kill."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    made = Paths(tmp_path_factory.mktemp("project"))
    make_dataset(made, "light", {"train": 4, "validation": 1})
    return made


@pytest.fixture(scope="module")
def params() -> Params:
    light = {"light": {"source": "embedded", "rain": "light", "variants": 1}}
    return tiny_params({"datasets": light, "train.steps": 6, "train.validate_every": 2, "network.passes": 1})


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "training.safetensors")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("when", ["before the checkpoint counts", "before the report", "later"])
def test_a_killed_training_ends_with_the_same_result(
    params: Params, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    whole = train_here(Project(params, SETTINGS, paths), RunFiles(f"{tmp_path}/whole", None), lambda row: None, CPU)
    place, reported = RunFiles(f"{tmp_path}/cut", None), list[float]()

    def dies(row: Row) -> None:
        if when == "before the report" and row["step"] == 4:
            raise Killed
        reported.append(row["step"])
        if when == "later" and row["step"] == 4:
            raise Killed

    with monkeypatch.context() as patch:
        write = RunFiles.write

        def cut(self: RunFiles, name: str, text: str) -> None:
            if when == "before the checkpoint counts" and json.loads(text)["rows"][-1]["step"] == 4:
                raise Killed
            write(self, name, text)

        patch.setattr(RunFiles, "write", cut)
        with pytest.raises(Killed):
            train_here(Project(params, SETTINGS, paths), place, dies, CPU)
    result = train_here(Project(params, SETTINGS, paths), place, lambda row: reported.append(row["step"]), CPU)
    assert sorted(set(reported)) == [2, 4, 6], "every validation is reported, the one at the kill perhaps twice"
    for name, weight in state_of(Path(whole.last.path)).items():
        assert torch.equal(state_of(Path(result.last.path))[name], weight), name
    assert result.metrics["psnr_y"] == whole.metrics["psnr_y"]
    kept = {path.name for path in Path(place.path).iterdir() if path.is_dir()}
    assert kept == {Path(result.last.path).name, Path(result.best.path).name}


@pytest.mark.usefixtures("one_thread")
def test_a_member_takes_over_the_weights_of_another(params: Params, paths: Paths, tmp_path: Path) -> None:
    first, second = (RunFiles(f"{tmp_path}/{name}", None) for name in ("first", "second"))
    other = params.model_copy(update={"train": params.train})
    for place in (first, second):
        train_here(Project(other, SETTINGS, paths), place, lambda row: None, CPU, begun=0, until=2)
    marked = load_tensors(Path(first.path) / "step-0000002/training.safetensors")
    start = first.within("step-0000002")
    reported: list[Row] = []
    train_here(Project(params, SETTINGS, paths), first, reported.append, CPU, begun=2, until=4)
    assert (Path(first.path) / "step-0000002").is_dir(), "others may still start from it"
    train_here(Project(params, SETTINGS, paths), second, reported.append, CPU, begun=2, until=4, start=start, generation=1)
    assert [row["step"] for row in reported] == [4, 4]
    one, two = (state_of(Path(place.path) / "step-0000004") for place in (first, second))
    assert marked.keys() == one.keys()
    assert all(torch.equal(one[name], two[name]) for name in one), "the same weights, params and crops"
    assert json.loads(second.read(LATEST) or "")["generation"] == 1
    train_here(Project(params, SETTINGS, paths), first, reported.append, CPU, begun=4, until=6)
    assert not (Path(first.path) / "step-0000002").is_dir()


def test_a_damaged_folder_is_named(params: Params, paths: Paths, tmp_path: Path) -> None:
    (tmp_path / LATEST).write_text("{")
    with pytest.raises(CheckpointError, match=rf"{LATEST}: .*; delete that folder"):
        train_here(Project(params, SETTINGS, paths), RunFiles(str(tmp_path), None), lambda row: None, CPU)
