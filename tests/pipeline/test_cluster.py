"""Which trainings fit a cluster, given its resources."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
import ray
from ray.exceptions import AuthenticationError

from pipeline import cluster
from pipeline.config.settings import Settings
from rdmc.errors import ConfigError, ServiceError
from tests.support.imports import ROOT
from tests.support.processes import descendants, kill_all
from tests.support.ray_head import ray_head

WAITING = """
import sys, time, ray
from pipeline.cluster import cluster
from pipeline.config.settings import Settings
from rdmc.errors import ServiceError
try:
    with cluster(Settings(ray_address=sys.argv[1])):
        actor = ray.remote(num_cpus=1)(type("Sleeper", (), {"sleep": lambda self, seconds: time.sleep(seconds)})).remote()
        ray.get(actor.sleep.remote(0))  # it runs, so its loss is an error; Ray waits a minute for one that has yet to start
        print("up", flush=True)
        ray.get(actor.sleep.remote(600))
except ServiceError as error:
    print(f"error: {error}", flush=True)
"""


@pytest.fixture
def resources(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The resources of a cluster, which a test fills in."""
    found: dict[str, float] = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: found)
    return found


@pytest.mark.parametrize(
    ("have", "settings", "trials", "message"),
    [
        ({"CPU": 5}, {"workers": 2}, 2, ""),
        ({"CPU": 4}, {"workers": 2}, 2, r"2 trials at once of 2 workers need 4\.02 CPUs, the cluster has 4; .* to 1"),
        ({"CPU": 4}, {"workers": 4}, 0, ""),
        (
            {"CPU": 4},
            {"workers": 2},
            3,
            r"3 trials at once of 2 workers need 6\.03 CPUs, the cluster has 4; .* to 1",
        ),
        ({"CPU": 3}, {"workers": 4}, 0, "4 workers need 4 CPUs, the cluster has 3; set RDMC_WORKERS=3"),
        ({"GPU": 1, "CPU": 8}, {"workers": 1, "gpus_per_worker": 0.5}, 2, ""),
        ({"GPU": 1, "CPU": 8}, {"workers": 1, "gpus_per_worker": 0.5}, 3, "need 1.5 GPUs, the cluster has 1; .* to 2"),
        ({"GPU": 2, "CPU": 8}, {"workers": 1, "gpus_per_worker": 0.2}, 10, ""),
        ({"GPU": 2, "CPU": 8}, {"workers": 1, "gpus_per_worker": 0.4}, 5, "need 2 GPUs, the cluster has 2; .* to 4"),
        ({"GPU": 2, "CPU": 8}, {"workers": 2, "gpus_per_worker": 0.5}, 1, "cannot share a GPU; set RDMC_WORKERS=1"),
        ({"CPU": 8}, {"workers": 1, "gpu": True}, 1, "need 1 GPUs, the cluster has 0; set RDMC_GPU=false"),
    ],
)
def test_workers_that_can_never_fit_are_refused_with_the_numbers(
    resources: dict[str, float], have: dict[str, float], settings: dict[str, float], trials: int, message: str
) -> None:
    resources.update(have)
    chosen = Settings.model_validate({"gpu": None, **settings})
    if not message:
        cluster.require_resources(chosen, trials)
        return
    with pytest.raises(ConfigError, match=message) as caught:
        cluster.require_resources(chosen, trials)
    assert "\n" not in str(caught.value)


def test_a_cluster_that_adds_nodes_may_have_too_few_now(resources: dict[str, float]) -> None:
    resources.update({"CPU": 1})
    cluster.require_resources(Settings(workers=4, gpu=False, autoscaling=True))
    cluster.require_resources(Settings(workers=4, gpu=True, autoscaling=True), trials=3)
    with pytest.raises(ConfigError, match="4 workers need 4 CPUs, the cluster has 1"):
        cluster.require_resources(Settings(workers=4, gpu=False))


def test_a_number_of_workers_that_varies_needs_room_for_the_fewest(resources: dict[str, float]) -> None:
    resources.update({"CPU": 2})
    cluster.require_resources(Settings(workers=4, min_workers=2, gpu=False))
    with pytest.raises(ConfigError, match="3 workers need 3 CPUs, the cluster has 2; set RDMC_MIN_WORKERS=2 or add nodes"):
        cluster.require_resources(Settings(workers=4, min_workers=3, gpu=False))
    with pytest.raises(ConfigError, match=r"^RDMC_MIN_WORKERS: 5 is more than RDMC_WORKERS, 4; lower it or raise that$"):
        cluster.fewest_workers(Settings(workers=4, min_workers=5, gpu=False))
    assert cluster.fewest_workers(Settings(workers=4, gpu=False)) == 4


def test_the_projects_own_address_of_ray_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.delenv("RDMC_RAY_ADDRESS", raising=False)
    assert not cluster.own_ray(Settings()), "Ray sets it for the jobs of a cluster"
    monkeypatch.setenv("RDMC_RAY_ADDRESS", "local")
    assert cluster.own_ray(Settings())
    assert cluster.own_ray(Settings().model_copy(update={"workers": 1}))
    given: list[str] = []

    def slow(address: str, **_: object) -> None:
        given.append(address)
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", slow)
    with pytest.raises(ServiceError, match="Ray did not start here .*less busy$"), cluster.cluster(Settings()):
        pass
    assert given == ["local"]


def test_a_new_head_at_the_old_address_counts_as_a_loss() -> None:
    said = r"^Ray at 'head:6379' was lost \(.*WrongClusterID.*the same command again"
    with pytest.raises(ServiceError, match=said), cluster._losses("head:6379"):
        raise AuthenticationError("WrongClusterID: ClusterID mismatch")


@pytest.mark.slow
def test_a_cluster_that_is_lost_is_an_error_of_one_line() -> None:
    with ray_head(cpus=1) as head:
        command = [sys.executable, "-c", WAITING, head.address]
        environment = {**head.environment, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout
            assert driver.stdout.readline() == "up\n"
            found = [one for one in psutil.process_iter(["cmdline"]) if str(head.folder) in " ".join(one.info["cmdline"] or [])]
            kill_all([*(child for one in found for child in descendants(one.pid)), *found])
            (line,) = driver.stdout.read().splitlines()
    assert line.startswith(f"error: Ray at '{head.address}' was lost (")
    assert line.endswith("; when it answers, run the same command again: a training resumes")
