"""Infra's YAML files as Python values, and what kustomize makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support import schemas

INFRA = schemas.ROOT / "infra"
KUBERNETES = INFRA / "kubernetes"
OWN_KINDS = ("Kustomization", "Component")

needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
needs_schemas = pytest.mark.skipif(not schemas.RAY_SCHEMAS.is_dir(), reason="no KubeRay schemas beside the checkout")


def load(text: str | Path) -> list[Any]:
    """The documents of a YAML file, or of a text."""
    return list(YAML(typ="safe", pure=True).load_all(text))


@cache
def resources() -> list[dict[str, Any]]:
    """All Kubernetes resources as written, without Kustomize's own files and patches."""
    found = [item for path in sorted(KUBERNETES.rglob("*.yaml")) for item in load(path)]
    return [item for item in found if isinstance(item, dict) and item["kind"] not in OWN_KINDS]


@cache
def rendered(folder: str) -> list[dict[str, Any]]:
    """The resources that kustomize makes of a folder below ``infra/kubernetes``."""
    return load(schemas.kustomize(KUBERNETES / folder))


def walk(value: Any) -> Iterator[Any]:
    """Yield the value and everything inside it."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from walk(inner)
