"""``register`` after a training that ended while MLflow did not answer: its run stayed open and lacks reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.stages import evaluate, register
from rdmc.files import write_text


def test_all_figures_are_sent_and_the_run_is_ended(
    store: str, tmp_path: Path, params: Params, make_workspace: Callable[..., Paths], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client, project = MlflowClient(store, store), Project(params, Settings(), make_workspace(Path()))
    run = client.create_run(client.create_experiment("outage")).info.run_id
    unsent = [{"step": 50, "loss": 0.75}, {"step": 100, "loss": 0.5, "psnr_y": 20.25}]  # history.csv has validations alone
    write_text(project.paths.run, json.dumps({"run_id": run, "unsent": unsent}))
    evaluate.run(project)
    register.run(project)
    sent = client.get_metric_history(run, "loss/total")
    assert [(one.step, one.value) for one in sent] == [(50, 0.75), (100, 0.5)]
    assert client.get_run(run).info.status == "FINISHED"
