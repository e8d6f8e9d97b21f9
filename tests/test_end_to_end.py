"""The whole pipeline by DVC in its own clone, at toy size: which stages rerun, equal results, and a bucket's content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from tests.support.project import make_project, run
from tests.support.s3 import S3Server

pytestmark = pytest.mark.slow
DATA = ["prepare@light", "prepare@heavy", "leaks", "pack@light", "pack@heavy"]
STAGES = ["check", *DATA, "train", "evaluate", "register"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def output(root: Path, *command: str) -> str:
    return run(root, *command).stdout


def stages_run(text: str) -> list[str]:
    return [line.split("'")[1] for line in text.splitlines() if line.startswith("Running stage")]


def locked(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(root / "dvc.lock")["stages"]
    return found


def test_only_changed_stages_rerun_and_results_are_equal(project: Path) -> None:
    assert stages_run(output(project, "dvc", "repro")) == STAGES
    assert stages_run(output(project, "dvc", "repro")) == []
    assert json.loads(output(project, "dvc", "status", "--json")) == {}
    first = locked(project)
    metrics = json.loads((project / "metrics/evaluate.json").read_text())

    training = project / "rdmc/training/loop.py"
    training.write_text(training.read_text() + "# touched\n")
    changed = set(json.loads(output(project, "dvc", "status", "--json")))
    assert changed >= {"train"}
    assert not changed & set(DATA)
    assert stages_run(output(project, "dvc", "repro")) == ["train", "register"], "equal weights are not evaluated again"
    assert stages_run(output(project, "dvc", "repro", "--force", "--single-item", "evaluate")) == ["evaluate"]
    assert stages_run(output(project, "dvc", "repro", "--force", *DATA)) == ["check", *DATA]
    again = locked(project)
    for stage in DATA:
        assert again[stage]["outs"] == first[stage]["outs"], f"{stage} wrote other bytes from the same seed"
    repeated = json.loads((project / "metrics/evaluate.json").read_text())
    for name, group in metrics.items():
        assert repeated[name]["derained"] == pytest.approx(group["derained"], abs=1e-6)

    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    version = client.get_model_version_by_alias("rdmc", "candidate")
    assert int(version.version) == 1, "equal weights and data are not registered twice"
    found = client.get_run(str(version.run_id)).inputs
    inputs = found.dataset_inputs if found else []
    used = {item.dataset.name: item.tags[0].value for item in inputs}
    assert used == {"light": "training", "heavy": "validation"}, "heavy has no training pairs"
    manifests = [json.loads((project / f"data/shards/{name}/manifest.json").read_text()) for name in used]
    assert [manifest["dataset"] for manifest in manifests] == list(used)
    assert not any(shard["split"] == "train" for shard in manifests[list(used).index("heavy")]["shards"])


def test_data_checkpoints_and_artifacts_are_stored_in_the_bucket(
    project: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.bucket("whole")
    monkeypatch.setenv("RDMC_BUCKET", "s3://whole/team")
    output(project, "python", "-m", "pipeline", "connect")
    assert stages_run(output(project, "dvc", "repro")) == STAGES
    output(project, "dvc", "push")
    names = {found.key for found in bucket.objects.all()}
    assert any(name.startswith("team/dvc/files/md5/") for name in names)
    assert any(name.startswith("team/mlflow/") and name.endswith("model.safetensors") for name in names)
    assert not (project / "mlartifacts").exists()
    assert not any(
        name.startswith("team/ray/") and name.endswith(".safetensors") for name in names
    )  # deleted when the run has finished
    assert not list((project / "runs").rglob("*.safetensors"))  # and never on disk
    assert s3.secret_key not in (project / ".dvc/config.local").read_text()

    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project / "data")
    shutil.rmtree(project / "checkpoints")
    output(project, "dvc", "pull")
    assert json.loads(output(project, "dvc", "status", "--json")) == {}

    shutil.rmtree(project / "data")  # as on another machine: dvc.lock and the bucket, no shards
    output(project, "python", "-m", "pipeline", "train")
    assert list((project / ".cache/shards").rglob("*.tar"))
