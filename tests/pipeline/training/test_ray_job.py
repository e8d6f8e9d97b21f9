"""``ray job submit`` on a real head with token authentication: the command runs there, and only code is uploaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from ray._private.runtime_env.packaging import create_package
from ruamel.yaml import YAML

from pipeline.config.paths import Paths
from tests.support.data import TINY, make_dataset
from tests.support.imports import ROOT
from tests.support.ray_head import SCRIPTS, Head, ray_head

MUST_STAY = (
    ".env",
    ".git/config",
    "prod.env",
    "PReNet.pth",
    "model.onnx",
    "holiday.jpg",
    "raw/rain1400/1.png",
    "dry/holiday.png",
    ".venv/bin/python",
    ".dvc/config.local",
    ".cache/shards/x.tar",
    "data/shards/light/train-00000.tar",
    "checkpoints/best/model.safetensors",
    "architectures/searched/model.safetensors",
    "runs/state",
    "plots/pictures/x.png",
    "mlflow.db",
    "mlartifacts/1/x",
    "infra/.env",
    "rdmc/__pycache__/x.pyc",
    ".env",
    "VGG19.pth",
    "raw/rain/1.png",
    "dry/1.png",
)
UPLOADED = {"params.yaml", "dvc.yaml", "architectures/full/genotype.json", "pipeline/serving/page.html"}
UPLOADED |= {"rdmc/datasets/embedded.sha256", "rdmc/weights/reference.json", "rdmc/weights/reference.safetensors"}
UPLOADED |= {"rdmc/quality/niqe_embedded.npz", "pipeline/evaluation/report/report.css", "pipeline/evaluation/report/report.js"}
"""Files that are uploaded besides the code."""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as started:
        yield started


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The code with tiny params, and all files that must not be uploaded; without a .gitignore that would exclude them."""
    root = tmp_path / "project"
    for name in ("rdmc", "pipeline", "architectures/full"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["datasets"] = {"light": params["datasets"]["light"]}
    for key, value in {**TINY, "train.steps": 2, "train.validate_every": 2, "train.warmup_steps": 1}.items():
        part, name = key.split(".")
        params[part][name] = value
    yaml.dump(params, root / "params.yaml")
    shutil.copy(ROOT / "dvc.yaml", root / "dvc.yaml")
    for name in MUST_STAY:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"must stay")
    return root


def test_the_package_has_the_code_and_no_secret_data_or_weights(project: Path, tmp_path: Path) -> None:
    """As Ray makes it, also in a checkout whose .gitignore excludes nothing."""
    excludes = YAML(typ="safe", pure=True).load(ROOT / "infra/runtime-env.yaml")["excludes"]
    package = tmp_path / "package.zip"
    create_package(str(project), package, include_gitignore=False, excludes=excludes)
    with ZipFile(package) as file:
        packed = {name for name in file.namelist() if not name.endswith("/")}
    assert packed.isdisjoint(MUST_STAY)
    assert {"params.yaml", "pipeline/__main__.py", "rdmc/models/rdmc.py"} <= packed
    assert {name for name in packed if not name.endswith(".py")} == UPLOADED


def submit(head: Head, project: Path, variables: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Submit with infra's runtime environment and the job's own variables, and wait for the end of the job."""
    runtime = YAML(typ="safe", pure=True).load(ROOT / "infra/runtime-env.yaml") | {"env_vars": variables}
    path = project.parent / "runtime-env.yaml"
    path.write_text(json.dumps(runtime))
    arguments = ["job", "submit", "--address", head.dashboard, "--working-dir", ".", "--runtime-env", str(path), "--", *command]
    run = [str(SCRIPTS / "ray"), *arguments]
    return subprocess.run(run, cwd=project, env=head.environment, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.slow
def test_a_job_trains_on_the_cluster_and_only_code_is_uploaded(head: Head, project: Path, store: str, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "data")
    make_dataset(paths, "light")
    variables = {
        "RDMC_DATA": str(paths.root),
        "RDMC_WORKERS": "1",
        "RDMC_STORAGE": str(tmp_path / "storage"),
        "MLFLOW_TRACKING_URI": store,
    }
    done = submit(head, project, variables, "python", "-m", "pipeline", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (paths.best / "model.safetensors").is_file()
    assert json.loads(paths.run.read_text())["run_id"]
    packages = list((head.folder / "session_latest/runtime_resources/working_dir_files").glob("_ray_pkg_*"))
    uploaded = {path.relative_to(package).as_posix() for package in packages for path in package.rglob("*") if path.is_file()}
    assert {"params.yaml", "pipeline/__main__.py", "rdmc/models/rdmc.py"} <= uploaded
    assert {name for name in uploaded if not name.endswith((".py", ".pyc")) or name in MUST_STAY} == UPLOADED


def test_a_job_without_the_token_is_refused(head: Head, project: Path) -> None:
    stranger = replace(head, environment={**head.environment, "RAY_AUTH_MODE": "disabled"})
    done = submit(stranger, project, {}, "python", "-m", "pipeline", "--help")
    assert done.returncode != 0
    assert "Missing authentication token" in done.stdout + done.stderr


CONNECT = """
import sys, time
from pipeline.cluster import cluster
from pipeline.config.settings import Settings
from rdmc.errors import ServiceError
begun = time.monotonic()
try:
    with cluster(Settings(ray_address=sys.argv[1])):
        pass
except ServiceError as error:
    assert time.monotonic() - begun < 10, "Ray itself tries for 20 seconds"
    print(error)
"""


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({}, ""),
        (
            {"RAY_AUTH_TOKEN_PATH": "wrong"},
            "Ray at '{}' refuses this token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to",
        ),
        ({"RAY_AUTH_MODE": "disabled"}, "Ray at '{}' refuses this token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to"),
        ({"RAY_AUTH_TOKEN_PATH": "absent"}, "Ray at '{}': no token (RAY_AUTH_TOKEN_PATH is set but"),
    ],
)
def test_a_driver_with_another_token_is_told_so_at_once(
    head: Head, tmp_path: Path, variables: dict[str, str], line: str
) -> None:
    (tmp_path / "wrong").write_text("ab" * 32)
    environment = {**head.environment, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", CONNECT, head.address]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(line.format(head.address))
    assert done.stdout.count("\n") == bool(line)
    assert (not line) or "RAY_AUTH_TOKEN_PATH" in done.stdout
