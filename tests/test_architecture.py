"""The rules of docs/architecture.md, held by reading the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import rdmc
from tests.support.imports import ROOT, closure, modules, names

LIBRARY = [module for module in modules() if module.parts[0] == "rdmc"]
ACTS = [module for module in modules() if module.parts[:2] == ("pipeline", "stages") and module.stem != "__init__"]
HOMES = {
    "boto3": {"pipeline/storage/s3.py"},
    "botocore": {"pipeline/storage/s3.py", "pipeline/storage/dvc_remote.py"},
    "s3fs": {"pipeline/storage/datasets.py"},
    "mlflow": {f"pipeline/{name}.py" for name in ("mlflow_store", "tracking", "registry", "model", "versions", "promotion")},
    "ray.serve": {f"pipeline/{name}.py" for name in ("serving", "door", "derainer")},
    "ray.train": {"pipeline/training/ray_train.py", "pipeline/training/in_process.py", "pipeline/experiments/trials.py"},
    "ray.tune": {
        "pipeline/experiments/mlflow_callback.py",
        "pipeline/experiments/sweep/ray_tune.py",
        "pipeline/experiments/trials.py",
        "pipeline/experiments/tune.py",
    },
    "optuna": {"pipeline/experiments/sweep/algorithms.py", "pipeline/experiments/sweep/plots.py"},
    "typer": {
        "pipeline/__main__.py",
        *(f"pipeline/commands/{name}.py" for name in ("data", "models", "shared", "training", "use")),
    },
}


def _uses(module: Path, package: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in names(module))


@pytest.mark.parametrize("module", LIBRARY, ids=str)
def test_library_knows_nothing_of_the_pipeline(module: Path) -> None:
    assert [p for p in ("pipeline", "ray", "mlflow", "dvc", "boto3", "pydantic", "typer") if _uses(module, p)] == []


@pytest.mark.parametrize("package", HOMES)
def test_package_stays_in_its_home(package: str) -> None:
    users = {str(module) for module in modules() if _uses(module, package)}
    assert users
    assert users <= HOMES[package]


@pytest.mark.parametrize("act", ACTS, ids=str)
def test_acts_never_import_one_another(act: Path) -> None:
    assert closure(act) & set(ACTS) == {act}


def test_inference_needs_no_training_or_loading() -> None:
    reached = {str(module) for module in closure(Path("rdmc/inference.py"))}
    assert not reached & {"rdmc/training/loop.py", "rdmc/training/losses.py", "rdmc/data/loader.py"}


@pytest.mark.parametrize("module", modules(), ids=str)
def test_nothing_works_at_import(module: Path) -> None:
    """At module level: definitions and constants, no calls for their effect (main guard and model registration aside)."""
    tree = ast.parse((ROOT / module).read_text())
    calls = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    assert [call for call in calls if not call.startswith(("mlflow.models.set_model(", "set_model("))] == []


def test_library_import_is_light() -> None:
    code = "import sys, rdmc, rdmc.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_public_names() -> None:
    assert sorted(rdmc.__all__) == ["RDMC", "RDMCConfig", "derain_image"]
    assert all(getattr(rdmc, name).__name__ == name for name in rdmc.__all__)


def _stages() -> dict[str, dict[str, list[str]]]:
    stages = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


@pytest.mark.parametrize("stage", ["prepare", "leaks", "pack", "train", "evaluate", "register"])
def test_dvc_deps_are_the_imports(stage: str) -> None:
    declared = {dep for dep in _stages()[stage]["deps"] if dep.endswith(".py")}
    imported = {str(module) for module in closure(Path(f"pipeline/stages/{stage}.py"))}
    if stage == "register":  # logged with the model as its code, not imported
        imported |= {str(module) for module in closure(Path("pipeline/registry/pyfunc.py"))}
    assert declared == {path for path in imported if (ROOT / path).read_text().strip()}


@pytest.mark.parametrize("stage", ["prepare", "leaks", "pack"])
def test_training_code_does_not_prepare_the_data_again(stage: str) -> None:
    declared = set(_stages()[stage]["deps"])
    assert not declared & {
        "rdmc/training/loop.py",
        "rdmc/models/rdmc.py",
        "rdmc/training/losses.py",
        "pipeline/config/params.py",
    }
