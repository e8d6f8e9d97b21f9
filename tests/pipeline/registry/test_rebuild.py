"""The errors of ``rebuild`` for damaged artifacts. tests/test_release.py rebuilds a version."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.registry import rebuild
from pipeline.registry.provenance import COMMITTED
from rdmc.errors import DataError

KEPT = {"dvc.lock": "stages: {}\n", "params.yaml": "seed: 0\n", "evaluate.json": '{"overall": {"derained": {"psnr_y": 30.0}}}'}


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("evaluate.json", "{", "evaluate.json holds no figures"),
        ("evaluate.json", "{}", "evaluate.json holds no figures"),
        ("evaluate.json", '{"overall": [1]}', "evaluate.json holds no figures"),
        ("evaluate.json", None, "rebuild/1/evaluate.json is not in its run"),
        ("dvc.lock", None, "rebuild/1/dvc.lock is not in its run"),
    ],
)
def test_damaged_artifacts_are_named(
    store: str, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None, damage: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    client = MlflowClient(store, store)
    experiment = client.create_experiment("kept", artifact_location=(tmp_path / "artifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    for file, text in {**KEPT, name: content}.items():
        if text is not None:
            client.log_text(run, text, f"rebuild/1/{file}")
    client.create_registered_model("rdmc")
    tags = {"registered_commit": "a" * 40, "rebuild": "rebuild/1", "code": COMMITTED}
    client.create_model_version("rdmc", "file:///nowhere", run, tags=tags, await_creation_for=0)
    with pytest.raises(DataError) as caught:
        rebuild.run(Project(params, Settings(), Paths()), "1", tmp_path / "one")
    assert str(caught.value) == f"models:/rdmc/1: its artifacts are damaged ({damage}); restore them, or name another version"
    assert not (tmp_path / "one").exists()
