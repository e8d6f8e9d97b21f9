"""Validation of infra's files: each function returns what is wrong, and a key that a schema does not know is wrong."""

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
    """Run one of this environment's checkers in the project's folder; what it says where it fails, empty where it does not."""
    command = [Path(sysconfig.get_path("scripts")) / name, *arguments]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr or "failed") if done.returncode else ""


def kustomize(folder: Path) -> str:
    """The resources that a kustomization makes, as YAML. Raises CalledProcessError."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def kubernetes_problems(resource: dict[str, Any]) -> list[str]:
    """What is wrong with one resource, Kubernetes's own kinds and Ray's alike; an unknown key is wrong."""
    if str(resource.get("apiVersion")).startswith("ray.io/"):
        schema = closed(json.loads((RAY_SCHEMAS / f"ray.io_v1_{str(resource['kind']).lower()}.json").read_text()))
        return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(resource)]
    try:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error.message)]
    return []


def closed(schema: Any) -> Any:
    """The schema with every object that lists its properties refusing others."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(inner.get("properties"), dict) and inner.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner
