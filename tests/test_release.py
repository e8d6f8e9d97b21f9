"""From a commit to a champion by one command, and from a version's number back to the project, at toy size in a clone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from tests.support.data import TINY
from tests.support.imports import ROOT

pytestmark = pytest.mark.slow
COPIED = ("rdmc", "pipeline", "architectures", "dvc.yaml", ".dvcignore", ".gitignore", "pyproject.toml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git and DVC project with this one's code, toy params and a gate that no toy passes."""
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
    for key, value in {**TINY, "gate.margin": 50.0}.items():
        part, name = key.split(".")
        params[part][name] = value
    yaml.dump(params, root / "params.yaml")
    act(root, "git", "init", "-q")
    act(root, "dvc", "init", "-q")
    act(root, "dvc", "config", "core.analytics", "false")
    commit(root)
    return root


def act(root: Path, *command: str, code: int = 0) -> str:
    """Run a command in the project, with this environment's programs and no setting of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RDMC_", "MLFLOW_", "RAY_"))}
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{kept['PATH']}"
    environment = {**kept, "PATH": path, "PYTHONPATH": str(root), "RDMC_WORKERS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def commit(root: Path) -> None:
    act(root, "git", "add", "-A")
    act(root, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "toy")


def pipeline(root: Path, *arguments: str, code: int = 0) -> str:
    return act(root, "python", "-m", "pipeline", *arguments, code=code)


def test_release_and_rebuild(project: Path, tmp_path: Path) -> None:
    said = pipeline(project, "release", code=3)
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    tags = client.get_model_version("rdmc", "1").tags
    assert tags["code"] == "committed"
    assert tags["leaks"] == "0"
    assert "models:/rdmc/1 is not promoted" in said
    assert "models:/rdmc/1 was refused on" in pipeline(project, "release", code=3), "and is not judged again"
    pipeline(project, "promote", "1", "--force", "--reason", "a toy")
    assert "nothing to promote" in pipeline(project, "release")

    training = project / "rdmc/training.py"  # code that no commit has
    training.write_text(training.read_text() + "# touched\n")
    pipeline(project, "release", code=3)
    assert "its code is not in the commit: rdmc/training.py" in client.get_model_version("rdmc", "2").tags["verdict"]
    assert "no commit has" in pipeline(project, "rebuild", "2", str(tmp_path / "two"), code=1)

    act(project, "git", "checkout", "-q", "rdmc/training.py")
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "seed: 5"))  # and other data now than version 1 had
    metrics = json.loads((project / "metrics/evaluate.json").read_text())
    said = pipeline(project, "rebuild", "1", str(tmp_path / "one"))
    assert "Running stage 'evaluate'" in said
    assert "Running stage 'train'" not in said, "weights come by their digest"
    rebuilt = json.loads((tmp_path / "one/metrics/evaluate.json").read_text())
    assert rebuilt["light"]["derained"] == pytest.approx(metrics["light"]["derained"], abs=1e-6)
    assert "seed: 0" in (tmp_path / "one/params.yaml").read_text()

    shutil.rmtree(project / ".dvc/cache")  # nothing is left but the repository and the registry
    said = pipeline(project, "rebuild", "1", str(tmp_path / "again"))
    assert "Running stage 'train'" in said
    assert "is there already" in pipeline(project, "rebuild", "1", str(tmp_path / "one"), code=1)
