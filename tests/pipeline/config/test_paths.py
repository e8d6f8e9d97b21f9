"""dvc.yaml and pipeline/config/paths.py name the same files (docs/decisions/0002)."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML

from pipeline.config.paths import Paths
from tests.support.imports import ROOT

NOT_OUTS = {
    "root",
    "runs",
    "journals",
    "best_params",
    "trials",
    "ablation",
    "searched",
    "sweep",
    "served",
    "manifests",
    "shard_cache",
}


def _path(out: Any) -> str:
    return str(next(iter(out)) if isinstance(out, dict) else out)


def test_the_outs_of_dvc_yaml_are_the_paths_of_the_project() -> None:
    stages = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    declared = set()
    for stage in stages.values():
        body = stage.get("do", stage)
        for kind in ("outs", "metrics", "plots"):
            declared |= {_path(out).replace("${key}", "NAME") for out in body.get(kind, [])}
    workspace = Paths()
    names = {name for name, value in vars(Paths).items() if isinstance(value, property)} - NOT_OUTS
    named = {str(getattr(workspace, name)) for name in names} | {str(workspace.pairs("NAME")), str(workspace.shards("NAME"))}
    assert declared == named
