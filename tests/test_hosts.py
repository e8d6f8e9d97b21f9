"""Hosts for real: a cluster whose parts share neither a disk nor an address, through a cut cable, to a model that serves."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rdmc.checkpoint import WEIGHTS
from tests.support.checkout import make_checkout, with_leaks
from tests.support.hosts import BUCKET, BUCKETS, CHECKOUT, DESK, Hosts, hosts
from tests.support.namespaces import lacks
from tests.support.serving import png
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PARAMS = {"train.steps": 400, "train.validate_every": 50}
"""A training that is long enough to be cut off."""
RAY = f"{BUCKETS}/{BUCKET}/main/ray"
"""The folder of the bucket with the checkpoints of running trainings."""
LOST = "its node was lost"
RUNS = """
import json, mlflow
found = mlflow.search_runs(search_all_experiments=True, output_format="list")
print(json.dumps([[run.info.status, run.data.metrics["validation/psnr_y"]] for run in found]))
"""
ASK = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.stdin.buffer.read(), {"Content-Type": "image/png"})
with urllib.request.urlopen(request, timeout=60) as answer:
    sys.stdout.buffer.write(answer.read())
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Hosts]:
    if reason := lacks():
        pytest.skip(reason)
    with hosts(tmp_path) as found:
        checkout = make_checkout(tmp_path / "checkout", found.bucket, tmp_path / "made", PARAMS, "main/")
        with_leaks(checkout, found.bucket)
        subprocess.run(["cp", "-a", checkout, found.desk.inside(CHECKOUT)], check=True)
        yield found


def test_a_worker_is_cut_off_and_the_model_is_registered_promoted_and_served(cluster: Hosts) -> None:
    shown = release_through_a_cut_cable(cluster)
    assert re.search(rf"worker [01] died \({LOST}\); resumes from step \d+", shown), shown
    assert "waiting for 2 CPUs, the cluster has 1 free" in shown, shown
    assert [state for state, _ in runs(cluster)] == ["FINISHED"], "one run, in spite of the second attempt"
    (version,) = json.loads(cluster.pipeline("models", "--json"))
    assert set(version["aliases"]) == {"candidate", "champion"}, "registered, and promoted by the gate"
    through = weights(cluster)
    assert version["tags"]["model_sha256"] == through["best"]

    cluster.pipeline("submit", "train", RDMC_EXPERIMENT="undisturbed")
    assert weights(cluster) == through, "the weights of an undisturbed training, byte for byte"
    assert [state for state, _ in runs(cluster)] == ["FINISHED"] * 2
    assert [path for path in cluster.store.inside(RAY).rglob("*") if path.is_file()] == [], "no checkpoint stays after the end"

    picture = png(1)
    cluster.desk.inside(f"{CHECKOUT}/rainy.png").write_bytes(picture)
    cluster.pipeline("derain", "rainy.png", "derained.png")
    assert served(cluster, picture) == cluster.desk.inside(f"{CHECKOUT}/derained.png").read_bytes()


def release_through_a_cut_cable(cluster: Hosts) -> str:
    """Submit a release. Once a checkpoint is stored, cut a worker off until Ray has given it up. Returns what is said."""
    log = cluster.logs / "release.log"
    job = cluster.desk.start(log, "python", "-m", "pipeline", "submit", "release", **cluster.user)
    until(lambda: "step 50/" in log.read_text() or job.poll() is not None)  # said once Ray has noted the checkpoint
    assert job.poll() is None, log.read_text()
    cluster.network.cut(cluster.workers[1])
    until(lambda: LOST in log.read_text() or job.poll() is not None)
    cluster.network.join(cluster.workers[1])
    assert job.wait(400) == 0, log.read_text()
    return log.read_text()


def served(cluster: Hosts, picture: bytes) -> bytes:
    """What the champion makes of a picture, asked for from another machine."""
    log, place = cluster.logs / "serve.log", cluster.head.inside("/tmp")  # noqa: S108  of that machine
    cluster.desk.start(log, "python", "-m", "pipeline", "serve", "--host", DESK, **cluster.user)
    until(lambda: "/derain" in log.read_text())
    assert "models:/rdmc@champion" in log.read_text()
    (place / "ask.py").write_text(ASK)
    (place / "rainy.png").write_bytes(picture)
    ask = f"python /tmp/ask.py http://{DESK}:8000/derain < /tmp/rainy.png > /tmp/derained.png"
    done = cluster.head.run("bash", "-c", ask)
    assert done.returncode == 0, done.stderr + log.read_text()
    return (place / "derained.png").read_bytes()


def weights(cluster: Hosts) -> dict[str, str]:
    """The digests of the model's files that came home to the desk."""
    checkpoints = cluster.desk.inside(f"{CHECKOUT}/checkpoints")
    found = {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoints.glob(f"*/{WEIGHTS}")}
    assert found.keys() == {"best", "last"}
    return found


def runs(cluster: Hosts) -> list[list[Any]]:
    """The runs of all experiments in MLflow: state and last PSNR-Y."""
    done = cluster.desk.run("python", "-c", RUNS, **cluster.user)
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found
