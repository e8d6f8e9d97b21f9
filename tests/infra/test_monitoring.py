"""The dashboard asks for metrics that exist, and Prometheus and Grafana find their files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from pipeline.serving.metrics import ServingMetrics
from pipeline.tracking.exposition import TrainingMetrics

INFRA = Path(__file__).parents[2] / "infra"
DASHBOARD = INFRA / "monitoring/grafana/dashboards/rdmc.json"
RAYS = {"ray_node_gpus_utilization", "ray_node_cpu_utilization", "ray_node_mem_used", "ray_node_mem_total"}
"""Metrics of Ray's own that the dashboard shows; a test finds their names in the installed Ray."""


def load(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def alerts() -> list[dict[str, Any]]:
    return [rule for group in load(INFRA / "monitoring/alerts.yaml")["groups"] for rule in group["rules"]]


def queried() -> set[str]:
    queries = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    return set(re.findall(r"\b(?:rdmc|ray)_\w+", queries))


def exposition() -> set[str]:
    serving = ServingMetrics()
    serving.requests.labels("/derain", "200").inc()
    texts = [generate_latest(TrainingMetrics("train-abc", 10, 4).registry).decode(), serving.text().decode()]
    return {sample.name for text in texts for family in text_string_to_metric_families(text) for sample in family.samples}


def test_every_query_is_of_a_metric_that_exists() -> None:
    ours = {name for name in queried() if name.startswith("rdmc_")}
    assert len(ours) >= 10
    assert ours <= exposition()
    assert queried() - ours == RAYS


def test_every_alert_is_of_a_metric_that_exists() -> None:
    assert len(alerts()) >= 4
    for rule in alerts():
        names = set(re.findall(r"\brdmc_\w+", rule["expr"]))
        assert names, rule["alert"]
        assert names <= exposition()
        assert rule["annotations"]["summary"].endswith(".")


def test_rays_metrics_exist_in_the_installed_ray() -> None:
    import ray

    source = (Path(ray.__file__).parent / "dashboard/modules/reporter/reporter_agent.py").read_text()
    for name in RAYS:
        assert f'"{name.removeprefix("ray_")}"' in source


def test_each_training_metric_is_on_the_dashboard() -> None:
    shown = {name for name in exposition() if name.startswith("rdmc_training_") and not name.endswith("_created")}
    assert shown - queried() == {"rdmc_training_info", "rdmc_training_images_total"}, "a name, and a total behind a rate"


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        x, y, w, h = (panel["gridPos"][side] for side in "xywh")
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert not cells & taken, panel["title"]
        assert x + w <= 24
        taken |= cells


def test_compose_mounts_what_exists_and_prometheus_reads_the_ports_that_are_open() -> None:
    services = load(INFRA / "compose.yaml")["services"]
    for name in ("prometheus", "grafana"):
        for volume in services[name]["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith(".") or (INFRA / source).exists()
    provider = load(INFRA / "monitoring/grafana/provisioning/dashboards/rdmc.yaml")["providers"][0]
    assert f"./monitoring/grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    source = load(INFRA / "monitoring/grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}
    jobs = {job["job_name"]: job for job in load(INFRA / "monitoring/prometheus.yaml")["scrape_configs"]}
    port = services["ray-head"]["environment"]["RDMC_METRICS"].rpartition(":")[2]
    assert jobs["training"]["static_configs"][0]["targets"] == [f"ray-head:{port}"]
    for name in ("ray-head", "ray-worker"):
        assert f"--metrics-export-port={jobs['ray']['dns_sd_configs'][0]['port']}" in services[name]["command"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool; Debian's package prometheus has it")
def test_prometheus_accepts_its_file() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(INFRA / "monitoring/prometheus.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
