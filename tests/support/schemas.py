"""Validation of infra's files. Each function returns the problems; a key that the schema does not have is a problem."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

ROOT = Path(__file__).parents[2]
RAY_SCHEMAS = ROOT.parent / "shared/schemas"
KUBERNETES = "1.33.0"


def tool(name: str, *arguments: str | Path) -> str:
    """Run one of this environment's checkers in the project's folder; return its output where it fails, otherwise ""."""
    command = [Path(sysconfig.get_path("scripts")) / name, *arguments]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr or "failed") if done.returncode else ""


def kustomize(folder: Path) -> str:
    """The resources of a kustomization, as YAML. Raises CalledProcessError where kubectl fails."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def kubernetes_problems(resource: dict[str, Any]) -> list[str]:
    """The problems of one resource of Kubernetes or Ray; an unknown key is a problem."""
    if str(resource.get("apiVersion")).startswith("ray.io/"):
        schema = closed(json.loads((RAY_SCHEMAS / f"ray.io_v1_{str(resource['kind']).lower()}.json").read_text()))
        return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(resource)]
    try:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error.message)]
    return []


def closed(schema: Any) -> Any:
    """A copy of the schema in which every object that lists its properties refuses others."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(inner.get("properties"), dict) and inner.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner
