"""The command ``train``: its files, also where it was stopped after its last step."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.stages import train
from pipeline.storage.lease import training_lease
from pipeline.storage.runs import RunFiles
from pipeline.training.run_log import recall
from rdmc.checkpoint import load_model
from rdmc.errors import ConfigError, DataError
from rdmc.models.cost import SIDE, cost
from rdmc.models.genotype import GENOTYPE, Genotype
from rdmc.models.rdmc import RDMCConfig
from tests.support.data import LIGHT, make_dataset, tiny_params


def stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_stopped_before_its_results_are_copied_is_completed_by_the_next(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = Genotype(("enc1->dec2", "enc2->dec3"), "bicubic")
    (tmp_path / GENOTYPE).write_text(few.to_json())
    params = tiny_params({**LIGHT, "architecture": str(tmp_path)})
    paths, settings = Paths(tmp_path), Settings(workers=1, gpu=False)
    make_dataset(paths, "light")
    with monkeypatch.context() as patch:
        patch.setattr(train, "bring_home", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(Project(params, settings, paths))
    (log,) = paths.runs.glob("*.jsonl")
    run_id, rows = recall(RunFiles(str(paths.runs), None), log.stem)
    assert list(rows) == [3, 6]

    train.run(Project(params, settings, paths))
    assert load_model(paths.best)[1]["step"] in rows
    assert (paths.last / "training.json").is_file()
    assert json.loads(paths.run.read_text()) == {"run_id": run_id, "name": log.stem}
    history = list(csv.DictReader(paths.history.open()))
    assert [int(row["step"]) for row in history] == [3, 6]
    assert [float(row["contrastive"]) for row in history] == [rows[step]["contrastive"] for step in (3, 6)]
    metrics = json.loads(paths.train_metrics.read_text())
    assert (metrics["steps"], metrics["validation_psnr_y"]) == (6, max(row["psnr_y"] for row in rows.values()))
    assert list(paths.runs.iterdir()) == []
    client, config = MlflowClient(store), load_model(paths.best)[0].config
    run = client.get_run(str(run_id))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["loss/contrastive"] == rows[6]["contrastive"]
    assert run.data.metrics["validation/psnr_y"] == rows[6]["psnr_y"]
    assert not [name for name in run.data.metrics if "/" not in name], "every figure is in a group"
    assert str(run.info.run_name).startswith("rdmc width 3 on light, 20")
    assert run.data.tags["mlflow.source.name"] == "python -m pipeline train"
    assert "6 steps of" in run.data.tags["mlflow.note.content"]
    assert not [name for name in run.data.params if name.startswith(("search.", "evaluate."))], "nothing that did not run"
    assert f"/#/experiments/{run.info.experiment_id}/runs/{run_id}?workflowType=" in capsys.readouterr().out
    assert isinstance(config, RDMCConfig)
    assert (config.connections, config.upsample) == (few.connections, few.upsample)
    assert run.data.params["network.connections"] == run.data.params["genotype.connections"] == str(list(few.connections))
    assert run.data.params["cost.parameters"] == str(cost(config).parameters)
    assert float(run.data.params[f"cost.gflop_{SIDE}x{SIDE}"]) > 0
    text = Path(client.download_artifacts(str(run_id), GENOTYPE, str(tmp_path))).read_text()
    assert Genotype.from_json(text, GENOTYPE).connections == few.connections


@pytest.mark.slow
def test_a_driver_in_another_folder_resumes_the_same_run(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log lies in the storage beside the checkpoints, so a second MLflow run is not opened and none is left running."""
    params, settings = tiny_params(LIGHT), Settings(workers=1, gpu=False, storage=str(tmp_path / "shared"))
    first, second = Paths(tmp_path / "first"), Paths(tmp_path / "second")
    for paths in (first, second):
        make_dataset(paths, "light")
    with monkeypatch.context() as patch:
        patch.setattr(train, "bring_home", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(Project(params, settings, first))
    train.run(Project(params, settings, second))
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(settings.experiment)
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status) == (json.loads(second.run.read_text())["run_id"], "FINISHED")
    assert [int(row["step"]) for row in csv.DictReader(second.history.open())] == [3, 6], "with the steps before the stop"
    assert list((tmp_path / "shared").iterdir()) == []


def test_history_has_the_terms_of_the_loss() -> None:
    row = {"step": 3.0, "loss": 0.5, "pixel": 0.25, "contrastive": 2.0, "mi_bound": 1.5, "psnr_y": 20.0, "step_seconds": 1.0}
    (found,) = csv.DictReader(train.history_csv({3: row}).splitlines())
    assert (found["pixel"], found["contrastive"], found["mi_bound"]) == ("0.25", "2.0", "1.5")
    assert not found.keys() & {"ssim", "step_seconds"}


def test_equal_runs_have_equal_histories_whatever_their_speed() -> None:
    row = {"step": 3.0, "loss": 0.5, "psnr_y": 20.0}
    slow, fast = ({**row, "images_per_second": speed, "step_seconds": 100 / speed} for speed in (20.0, 31.5))
    assert train.history_csv({3: slow}) == train.history_csv({3: fast})


def test_the_name_of_a_run_depends_on_its_params_and_data() -> None:
    params = tiny_params(LIGHT)
    assert train.run_name(params, ["a"]) == train.run_name(params, ["a"])
    others = [train.run_name(params, ["b"]), train.run_name(tiny_params({**LIGHT, "seed": 9}), ["a"])]
    assert train.run_name(params, ["a"]) not in others


def test_data_that_cannot_be_used_is_refused_before_ray_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "cluster", stop)
    project = Project(tiny_params(LIGHT), Settings(workers=1, gpu=False), Paths(tmp_path))
    with pytest.raises(DataError, match="dvc repro"):
        train.run(project)
    make_dataset(project.paths, "light", {"validation": 1})
    with pytest.raises(DataError, match="no train pairs"):
        train.run(project)
    assert not project.paths.runs.exists()


def test_a_second_training_of_the_project_is_refused_before_ray_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "cluster", stop)
    project = Project(tiny_params(LIGHT), Settings(workers=1, gpu=False), Paths(tmp_path))
    make_dataset(project.paths, "light")
    with training_lease(project, "train-other"), pytest.raises(ConfigError, match="runs `train` in this project") as caught:
        train.run(project)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_mlflow_did_not_get_lies_beside_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    paths = Paths(tmp_path)
    make_dataset(paths, "light")
    train.run(Project(tiny_params(LIGHT), Settings(workers=1, gpu=False), paths))
    facts = json.loads(paths.run.read_text())
    assert facts["run_id"] is None
    assert [row["step"] for row in facts["unsent"]] == [3, 6]
    assert {"loss", "psnr_y", "lr"} <= facts["unsent"][1].keys()
    assert "`python -m pipeline register` adds the figures" in capsys.readouterr().out
