"""The rules of docs/architecture.md, kept by reading the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import rdmc
from tests.support.imports import ROOT, closure, has_code, modules, names, own_imports

LIBRARY = [module for module in modules() if module.parts[0] == "rdmc"]
PIPELINE = [module for module in modules() if module.parts[0] == "pipeline" and has_code(module)]
STAGES = ["check", "prepare", "leaks", "pack", "train", "evaluate", "register"]
ROOMS = [
    {"console", "config", "signals"},
    {"versioning", "cluster"},
    {"storage"},
    {"tracking", "data", "evaluation", "stack"},
    {"training", "registry"},
    {"promotion", "experiments", "serving", "stages"},
    {"profile", "backup", "jobs", "comparison"},
    {"reference", "downstream"},
    {"cli"},
    {"__main__"},
]
"""A room may import those of earlier groups, never another one of its own group."""
HOMES = {
    "boto3": {"storage"},
    "botocore": {"storage"},
    "s3fs": {"storage"},
    "mlflow": {"tracking", "registry", "stack"},
    "ray.train": {"training"},
    "ray.tune": {"experiments"},
    "optuna": {"experiments"},
    "ray.serve": {"serving"},
    "ray.job_submission": {"jobs"},
    "typer": {"cli", "__main__"},
}
"""The rooms that use an outside package."""
TOP = {"pipeline": 4, "rdmc": 8}
"""How many modules a package may have at its top."""
MODULES, LINES, FUNCTION = 14, 300, 60
"""How many modules a folder, lines a file and lines a function may have."""
CODE = sorted(
    path.relative_to(ROOT) for part in ("rdmc", "pipeline", "tests", "benchmarks") for path in (ROOT / part).rglob("*.py")
)


def _room(module: Path) -> str:
    return module.parts[1].removesuffix(".py")


def _group(room: str) -> int:
    return next(number for number, group in enumerate(ROOMS) if room in group)


def _uses(module: Path, package: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in names(module))


@pytest.mark.parametrize("module", LIBRARY, ids=str)
def test_library_knows_nothing_of_the_pipeline(module: Path) -> None:
    assert [p for p in ("pipeline", "ray", "mlflow", "dvc", "boto3", "pydantic", "typer") if _uses(module, p)] == []


@pytest.mark.parametrize("module", PIPELINE, ids=str)
def test_imports_between_rooms_go_one_way(module: Path) -> None:
    own = _room(module)
    imported = {_room(path) for path in own_imports(module) if path.parts[0] == "pipeline" and has_code(path)} - {own}
    assert {room for room in imported if _group(room) >= _group(own)} == set()


@pytest.mark.parametrize("package", HOMES)
def test_package_stays_in_its_home(package: str) -> None:
    users = {_room(module) for module in PIPELINE if _uses(module, package)}
    assert users == HOMES[package]


def test_no_folder_is_crowded() -> None:
    counts = Counter(module.parent for module in modules() if module.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MODULES} == {}
    for package, most in TOP.items():
        assert counts[Path(package)] <= most


@pytest.mark.parametrize("module", CODE, ids=str)
def test_files_and_functions_are_short(module: Path) -> None:
    text = (ROOT / module).read_text()
    assert len(text.splitlines()) <= LINES
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: n for f in functions if (n := (f.end_lineno or 0) - f.lineno + 1) > FUNCTION} == {}


def test_no_two_public_classes_share_a_name() -> None:
    classes = Counter(
        node.name
        for module in modules()
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in classes.items() if count > 1} == set()


def test_every_module_has_a_test_of_its_name() -> None:
    wanted = {module: ROOT / "tests" / module.parent / f"test_{module.name}" for module in modules() if has_code(module)}
    assert [str(module) for module, test in wanted.items() if not test.is_file() and module not in TESTED_ELSEWHERE] == []


TESTED_ELSEWHERE = {
    Path("rdmc/__init__.py"): "its names, below",
    Path("pipeline/__main__.py"): "tests/pipeline/cli/test_command_line.py",
}


@pytest.mark.parametrize("stage", STAGES)
def test_stages_never_import_one_another(stage: str) -> None:
    own = Path(f"pipeline/stages/{stage}.py")
    assert {path for path in closure(own) if path.parent == own.parent and has_code(path)} == {own}


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
    assert sorted(rdmc.__all__) == ["RDMC", "RDMCConfig", "derain_image", "load_reference"]
    assert all(getattr(rdmc, name).__name__ == name for name in rdmc.__all__)


def _code_deps(stage: str) -> list[str]:
    """The deps of a stage that are code, as dvc.yaml declares them."""
    declared = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"][stage]
    return [dep for dep in declared.get("do", declared)["deps"] if dep.startswith(("rdmc/", "pipeline/"))]


def _code_of(stage: str) -> set[Path]:
    """The code that a stage runs."""
    code = closure(Path(f"pipeline/stages/{stage}.py"))
    if stage == "register":  # logged with the model as its code, not imported
        code |= closure(Path("pipeline/registry/pyfunc.py"))
    return {path for path in code if has_code(path)}


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_lies_within_its_deps(stage: str) -> None:
    declared = _code_deps(stage)
    assert {str(path) for path in _code_of(stage) if not any(path.is_relative_to(dep) for dep in declared)} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_declared_dep_is_unused_or_declared_twice(stage: str) -> None:
    declared, code = _code_deps(stage), _code_of(stage)
    assert {dep for dep in declared if not any(path.is_relative_to(dep) for path in code)} == set()
    assert {dep for dep in declared for other in declared if dep != other and Path(dep).is_relative_to(other)} == set()


@pytest.mark.parametrize(
    ("stage", "changed"),
    [
        ("prepare", "rdmc/training/loop.py"),
        ("leaks", "rdmc/training/config.py"),
        ("pack", "rdmc/models/rdmc.py"),
        ("train", "pipeline/config/registry.py"),
        ("train", "pipeline/tracking/ui.py"),
        ("train", "rdmc/datasets/benchmarks/facts.py"),
        ("evaluate", "rdmc/training/losses.py"),
        ("register", "rdmc/training/loop.py"),
    ],
)
def test_a_change_elsewhere_runs_no_stage_again(stage: str, changed: str) -> None:
    assert (ROOT / changed).is_file()
    assert not any(Path(changed).is_relative_to(dep) for dep in _code_deps(stage))
