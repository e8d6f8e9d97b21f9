"""What kustomize makes of infra/kubernetes: valid in every key, bounded, and every name that one resource gives exists."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.settings import Settings
from tests.support import schemas
from tests.support.manifests import KUBERNETES, needs_kubectl, needs_schemas, rendered, resources, walk

OVERLAYS = ("overlays/selfhosted", "overlays/gpu", "overlays/eks")
FOLDERS = (*OVERLAYS, "jobs/train")
RUNNING = {"RayCluster", "RayJob", "Deployment", "StatefulSet", "CronJob"}
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
each_folder = pytest.mark.parametrize("folder", FOLDERS)
pytestmark = needs_kubectl


def all_of(folder: str) -> list[dict[str, Any]]:
    """The resources of a folder. Those of a job lie beside those of the overlay that it is for."""
    return rendered(folder) + (rendered("overlays/selfhosted") if folder.startswith("jobs/") else [])


def named(folder: str, kind: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in all_of(folder) if item["kind"] == kind}


def pods(folder: str) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Labels and spec of every pod that runs; KubeRay adds labels of its own to those of a cluster."""
    for item in all_of(folder):
        for inner in walk(item):
            if isinstance(inner, dict) and "containers" in inner.get("spec", {}):
                yield dict(inner.get("metadata", {}).get("labels", {})), inner["spec"]
    for item in all_of(folder):
        spec = item["spec"] if item["kind"] == "RayCluster" else item.get("spec", {}).get("rayClusterSpec")
        if spec:
            own = {"ray.io/cluster": item["metadata"]["name"]}
            yield {**own, "ray.io/node-type": "head"}, spec["headGroupSpec"]["template"]["spec"]
            for group in spec["workerGroupSpecs"]:
                yield {**own, "ray.io/node-type": "worker"}, group["template"]["spec"]


def containers(folder: str) -> list[dict[str, Any]]:
    return [each for _, pod in pods(folder) for each in [*pod["containers"], *pod.get("initContainers", [])]]


def fits(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        rule["operator"] == "Exists" and rule["key"] in labels for rule in selector.get("matchExpressions", [])
    )


def size(amount: str) -> int:
    return int(amount[:-2]) * UNITS[amount[-2:]]


@needs_schemas
@each_folder
def test_every_resource_is_valid_in_every_key_and_in_one_namespace(folder: str) -> None:
    made = rendered(folder)
    assert {item["metadata"]["name"]: schemas.kubernetes_problems(item) for item in made} == {
        item["metadata"]["name"]: [] for item in made
    }
    assert {item["metadata"].get("namespace", item["metadata"]["name"]) for item in made} == {"rdmc"}


@needs_schemas
@pytest.mark.parametrize("resource", resources(), ids=lambda item: f"{item['kind']}-{item['metadata'].get('name')}")
def test_resources_as_written_are_valid(resource: dict[str, Any]) -> None:
    assert schemas.kubernetes_problems(resource) == []
    assert any("unheard" in problem for problem in schemas.kubernetes_problems({**resource, "unheardOf": 1}))


@needs_schemas
def test_a_typing_error_deep_inside_a_ray_resource_fails() -> None:
    cluster = copy.deepcopy(named("overlays/gpu", "RayCluster")["rdmc"])
    container = cluster["spec"]["workerGroupSpecs"][1]["template"]["spec"]["containers"][0]
    container["resource"] = container.pop("resources")
    assert any("'resource' was unexpected" in problem for problem in schemas.kubernetes_problems(cluster))
    container["resources"] = container.pop("resource")
    cluster["spec"]["workerGroupSpecs"][0]["maxReplicas"] = "two"
    assert any("'two'" in problem for problem in schemas.kubernetes_problems(cluster))


@each_folder
def test_containers_are_bounded_and_unprivileged(folder: str) -> None:
    assert len(containers(folder)) >= (5 if folder == "overlays/eks" else 8)
    for container in containers(folder):
        assert set(container["resources"]) == {"requests", "limits"}
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert limits["memory"] == requests["memory"], "a pod is not killed because its neighbours use their limits"
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for labels, pod in pods(folder):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False, "variables of services would be taken for settings, such as MLFLOW_PORT"
        head = labels.get("ray.io/node-type") == "head"
        assert pod["automountServiceAccountToken"] is True or not head
        assert pod["serviceAccountName"] in named(folder, "ServiceAccount")


def groups(folder: str) -> list[dict[str, Any]]:
    specs = [
        item["spec"].get("rayClusterSpec", item["spec"]) for item in all_of(folder) if item["kind"] in ("RayCluster", "RayJob")
    ]
    return [group for spec in specs for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


@each_folder
def test_memory_limits_count_shared_memory(folder: str) -> None:
    for group in groups(folder):
        pod = group["template"]["spec"]
        (shared,) = (volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shared-memory")
        assert shared["medium"] == "Memory"
        limit = size(pod["containers"][0]["resources"]["limits"]["memory"])
        assert limit == int(group["rayStartParams"]["memory"]) + size(shared["sizeLimit"])
        assert int(group["rayStartParams"]["object-store-memory"]) <= size(shared["sizeLimit"]) // 2, "loaders need the rest"
        (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "shared-memory")
        assert mount["mountPath"] == str(Path("/dev", "shm"))


@each_overlay
def test_the_cluster_scales_and_keeps_its_heads_state_in_redis(overlay: str) -> None:
    spec = named(overlay, "RayCluster")["rdmc"]["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert [(group["groupName"], group["minReplicas"]) for group in spec["workerGroupSpecs"]] == [
        (name, 0) for name in (["cpu"] if overlay == "overlays/selfhosted" else ["cpu", "gpu"])
    ]
    for group in spec["workerGroupSpecs"]:
        assert 0 == group["minReplicas"] == group["replicas"] < group["maxReplicas"]
        assert group["template"]["spec"]["nodeSelector"]["kubernetes.io/os"] == "linux"
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > 60, "the hook that says that it leaves takes 60"
        gpus = group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
        tolerated = [taint["key"] for taint in group["template"]["spec"].get("tolerations", [])]
        assert (gpus, tolerated) == (("1", ["nvidia.com/gpu"]) if group["groupName"] == "gpu" else (None, []))
    settings = named(overlay, "ConfigMap")["rdmc-settings"]["data"]
    assert settings["RDMC_GPU"] == str(overlay != "overlays/selfhosted").lower()
    host = re.fullmatch(r"(?:rediss?://)?([\w.-]+):6379", spec["gcsFaultToleranceOptions"]["redisAddress"])
    assert host
    assert host[1] in named(overlay, "Service") or "." in host[1]
    assert settings["RDMC_AUTOSCALING"] == "true", "a training would be refused while there is no worker"
    asked = int(settings["RDMC_WORKERS"])
    assert any(group["maxReplicas"] >= asked for group in spec["workerGroupSpecs"]), "the cluster can grow to its trainings"


@each_folder
def test_every_secret_and_setting_that_is_referred_to_exists(folder: str) -> None:
    secrets = {item["metadata"]["name"]: item["stringData"] for item in resources() if item["kind"] == "Secret"}
    settings = {name: item["data"] for name, item in named(folder, "ConfigMap").items()}
    used = set()
    for item in walk(all_of(folder)):
        if not isinstance(item, dict):
            continue
        for key, known in (("secretKeyRef", secrets), ("configMapKeyRef", settings)):
            if key in item:
                assert item[key]["key"] in known[item[key]["name"]]
                used.add(item[key]["name"])
        for key, whole in (("secretRef", secrets), ("configMapRef", settings)):
            if key in item:
                assert item[key]["name"] in whole
                used.add(item[key]["name"])
        if "authOptions" in item:
            assert "auth_token" in secrets[item["authOptions"]["secretName"]], "KubeRay reads this key"
    keyless = {"rdmc-s3"} if folder == "overlays/eks" else set()
    assert secrets.keys() - used == keyless, "a role needs no S3 keys"


@each_overlay
def test_an_environment_names_settings_that_exist_and_no_values_of_secrets(overlay: str) -> None:
    known = {f"RDMC_{name.upper()}" for name in Settings.model_fields}
    settings = named(overlay, "ConfigMap")["rdmc-settings"]
    given = set(settings["data"]) | {each["name"] for item in containers(overlay) for each in item.get("env", [])}
    assert {name for name in given if name.startswith("RDMC_")} <= known
    Settings.model_validate(
        {name.removeprefix("RDMC_").lower(): value for name, value in settings["data"].items() if name in known}
    )
    for container in containers(overlay):
        for each in container.get("env", []):
            secret = re.search("PASSWORD|TOKEN|SECRET|ACCESS_KEY", each["name"])
            assert not secret or "secretKeyRef" in each["valueFrom"]
            for inner in re.findall(r"\$\((\w+)\)", each.get("value", "")):
                before = [other["name"] for other in container["env"]]
                assert before.index(inner) < before.index(each["name"]), "Kubernetes replaces only what is above"


@each_overlay
def test_services_and_budgets_select_pods_and_ports_that_exist(overlay: str) -> None:
    running = list(pods(overlay))
    for service in named(overlay, "Service").values():
        (pod,) = (pod for labels, pod in running if service["spec"]["selector"].items() <= labels.items())
        names = {port["name"]: port["containerPort"] for each in pod["containers"] for port in each["ports"]}
        for port in service["spec"]["ports"]:
            assert names[port["targetPort"]] == port["port"]
    for budget in named(overlay, "PodDisruptionBudget").values():
        assert any(fits(budget["spec"]["selector"], labels) for labels, _ in running), budget["metadata"]["name"]
    for item in all_of(overlay):
        if item["kind"] in ("Deployment", "StatefulSet"):
            assert fits(item["spec"]["selector"], item["spec"]["template"]["metadata"]["labels"])
        if item["kind"] == "StatefulSet":
            assert item["spec"]["serviceName"] in named(overlay, "Service")


@each_overlay
def test_every_address_is_of_a_service_and_its_port(overlay: str) -> None:
    services = {(name, item["spec"]["ports"][0]["port"]) for name, item in named(overlay, "Service").items()}
    services.add(("rdmc-head-svc", 8265))  # KubeRay makes it: the cluster's name and -head-svc
    texts = [text for text in walk(all_of(overlay)) if isinstance(text, str)]
    urls = {(host, int(port)) for text in texts for host, port in re.findall(r"http://([\w.-]+):(\d+)", text)}
    assert urls >= {("mlflow", 5000), ("rdmc-head-svc", 8265)}
    assert {(host, port) for host, port in urls if "." not in host} <= services
    host = named(overlay, "ConfigMap")["rdmc-database"]["data"]["PGHOST"]
    assert (host, 5432) in services or "." in host


@each_folder
def test_jobs_are_repeated_and_cleaned_up(folder: str) -> None:
    nightly = named(folder, "CronJob")["nightly"]["spec"]
    assert nightly["concurrencyPolicy"] == "Forbid"
    assert (
        "python -m pipeline submit release" in nightly["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"][2]
    )
    for item in rendered("jobs/train"):
        spec = item["spec"]
        assert spec["backoffLimit"] > 0 < spec["ttlSecondsAfterFinished"]
        assert spec["shutdownAfterJobFinishes"] is True, "KubeRay refuses a ttl without it"
        assert spec["rayClusterSpec"] == named("overlays/selfhosted", "RayCluster")["rdmc"]["spec"]


def test_a_job_on_the_permanent_cluster_is_not_repeated_by_kuberay() -> None:
    (job,) = (item for item in resources() if item["kind"] == "RayJob" and "clusterSelector" in item["spec"])
    assert job["spec"]["clusterSelector"]["ray.io/cluster"] in named("overlays/selfhosted", "RayCluster")
    assert job["spec"]["backoffLimit"] == 0, "KubeRay refuses more with a clusterSelector"
    assert not {"ttlSecondsAfterFinished", "shutdownAfterJobFinishes"} & job["spec"].keys()


@each_overlay
def test_network_policies_open_exactly_the_ports_of_the_documented_table(overlay: str) -> None:
    text = (schemas.ROOT / "docs/cluster.md").read_text()
    text = text.partition("### Who may connect to which pods")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d, ]+|all) \| `(\w+)` \|", text, re.MULTILINE)
    documented = {(name, port) for ports, name in rows for port in ports.split(", ")}
    found, policies = set(), named(overlay, "NetworkPolicy")
    nobody = policies.pop("nobody")["spec"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress"]}, "what no rule allows is closed"
    for name, policy in policies.items():
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        assert any(fits(policy["spec"]["podSelector"], labels) for labels, _ in pods(overlay))
        for rule in policy["spec"]["ingress"]:
            assert rule["from"], "an empty list means everybody"
            found |= {(name, str(port["port"])) for port in rule.get("ports", [{"port": "all"}])}
            if "ports" not in rule:
                assert [source["podSelector"] for source in rule["from"]] == [policy["spec"]["podSelector"]], (
                    "only its own pods"
                )
            for source in rule["from"]:
                near = "namespaceSelector" not in source
                assert not near or any(fits(source["podSelector"], labels) for labels, _ in pods(overlay))
    outside = {"postgres", "redis", "s3"} if overlay == "overlays/eks" else set()
    assert found == {(name, port) for name, port in documented if name not in outside}


def test_aws_has_roles_in_place_of_keys() -> None:
    overlay = "overlays/eks"
    role = named(overlay, "ServiceAccount")["rdmc"]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == "arn:aws:iam::111122223333:role/rdmc", "the account of Amazon's examples"
    assert {item["kind"] for item in rendered(overlay)} & {"StatefulSet"} == set()
    text = schemas.kustomize(KUBERNETES / overlay)
    assert "AWS_ACCESS_KEY_ID" not in text
    assert "ENDPOINT_URL" not in text
    for labels, pod in pods(overlay):
        if "ray.io/cluster" in labels:
            spot = "SPOT" if labels["ray.io/node-type"] == "worker" else "ON_DEMAND"
            assert pod["nodeSelector"]["eks.amazonaws.com/capacityType"] == spot
