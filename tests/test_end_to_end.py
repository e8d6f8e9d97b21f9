"""The whole pipeline by DVC in a clone of its own, at toy size: what reruns, what is equal, what lands in a bucket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from tests.support.data import TINY
from tests.support.imports import ROOT
from tests.support.s3 import S3Server

pytestmark = pytest.mark.slow
COPIED = ("rdmc", "pipeline", "architectures", "dvc.yaml", ".dvcignore", ".gitignore", "pyproject.toml")
STAGES = ["prepare@light", "leaks", "pack@light", "train", "evaluate", "register"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git and DVC project with this one's code and toy params."""
    root = tmp_path / "project"
    root.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["datasets"] = {"light": {"source": "embedded", "rain": "light", "variants": 1}}
    for key, value in TINY.items():
        part, name = key.split(".")
        params[part][name] = value
    yaml.dump(params, root / "params.yaml")
    run(root, "git", "init", "-q")
    run(root, "dvc", "init", "-q")
    run(root, "dvc", "config", "core.analytics", "false")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "toy")
    return root


def run(root: Path, *command: str) -> str:
    """Run a command in the project with this environment's programs and no setting of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RDMC_", "MLFLOW_", "RAY_"))}
    kept |= {name: value for name, value in os.environ.items() if name in ("RDMC_BUCKET",)}
    scripts = sysconfig.get_path("scripts")
    environment = {**kept, "PATH": f"{scripts}{os.pathsep}{kept['PATH']}", "PYTHONPATH": str(root), "RDMC_WORKERS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def stages_run(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def locked(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(root / "dvc.lock")["stages"]
    return found


def test_reruns_only_what_changed_and_repeats_itself(project: Path) -> None:
    assert stages_run(run(project, "dvc", "repro")) == STAGES
    assert stages_run(run(project, "dvc", "repro")) == []
    assert json.loads(run(project, "dvc", "status", "--json")) == {}
    first = locked(project)
    metrics = json.loads((project / "metrics/evaluate.json").read_text())

    training = project / "rdmc/training.py"
    training.write_text(training.read_text() + "# touched\n")
    changed = set(json.loads(run(project, "dvc", "status", "--json")))
    assert changed >= {"train"}
    assert not changed & {"prepare@light", "leaks", "pack@light"}
    assert stages_run(run(project, "dvc", "repro")) == ["train", "evaluate", "register"]
    assert stages_run(run(project, "dvc", "repro", "--force", "prepare@light", "leaks", "pack@light")) == STAGES[:3]
    again = locked(project)
    for stage in STAGES[:3]:
        assert again[stage]["outs"] == first[stage]["outs"], f"{stage} made other bytes from the same seed"
    repeated = json.loads((project / "metrics/evaluate.json").read_text())
    for name, group in metrics.items():
        assert repeated[name]["derained"] == pytest.approx(group["derained"], abs=1e-6)

    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    version = client.get_model_version_by_alias("rdmc", "candidate")
    assert int(version.version) == 2
    found = client.get_run(str(version.run_id)).inputs
    inputs = found.dataset_inputs if found else []
    manifest = json.loads((project / "data/shards/light/manifest.json").read_text())
    assert {item.dataset.name for item in inputs} == {"light"} == {manifest["dataset"]}


def test_with_a_bucket_data_checkpoints_and_artifacts_go_there(
    project: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.bucket("whole")
    monkeypatch.setenv("RDMC_BUCKET", "s3://whole/team")
    run(project, "python", "-m", "pipeline", "connect")
    assert stages_run(run(project, "dvc", "repro")) == STAGES
    run(project, "dvc", "push")
    names = {found.key for found in bucket.objects.all()}
    assert any(name.startswith("team/dvc/files/md5/") for name in names)
    assert any(name.startswith("team/mlflow/") and name.endswith("model.safetensors") for name in names)
    assert not (project / "mlartifacts").exists()
    assert not any(name.startswith("team/ray/") and name.endswith(".safetensors") for name in names)  # forgotten when finished
    assert not list((project / "runs").rglob("*.safetensors"))  # and never here
    assert s3.secret_key not in (project / ".dvc/config.local").read_text()

    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project / "data")
    shutil.rmtree(project / "checkpoints")
    run(project, "dvc", "pull")
    assert json.loads(run(project, "dvc", "status", "--json")) == {}

    shutil.rmtree(project / "data")  # a worker elsewhere: dvc.lock and the bucket, no shards
    run(project, "python", "-m", "pipeline", "train")
    assert list((project / ".cache/shards").rglob("*.tar"))
