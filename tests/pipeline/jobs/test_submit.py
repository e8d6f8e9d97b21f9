"""``submit`` as a person runs it, from a checkout to a real head: a release whose results come home, and stops."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.jobs.submit import Job, run
from pipeline.registry.provenance import gaps
from rdmc.checkpoint import load_model
from rdmc.errors import ConfigError, DataError, ServiceError
from tests.pipeline.jobs.conftest import Cluster
from tests.support.checkout import make_checkout, with_leaks
from tests.support.s3 import S3Server

STEPS = {"train.steps": 2, "train.validate_every": 2}


def submit(cluster: Cluster, s3: S3Server, checkout: Path, bucket: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``submit`` in the checkout, with the cluster's token and the bucket's credentials."""
    variables = {
        **cluster.head.environment,
        **s3.environment,
        "PYTHONPATH": str(checkout),
        "RAY_API_SERVER_ADDRESS": cluster.head.dashboard,
        "RDMC_BUCKET": f"s3://{bucket}/main",
        "RDMC_WORKERS": "1",
        "COLUMNS": "400",
    }
    command = [sys.executable, "-m", "pipeline", "submit", *arguments]
    return subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True, check=False, timeout=550)


@pytest.mark.slow
def test_a_release_in_a_job_comes_home(
    jobs_cluster: Cluster, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.bucket("submitted")
    checkout = make_checkout(tmp_path / "checkout", bucket, tmp_path / "made", STEPS, "main/")
    with_leaks(checkout, bucket)
    done = submit(jobs_cluster, s3, checkout, "submitted", "release")
    shown = done.stdout + done.stderr
    assert done.returncode in (0, 3), shown  # two steps of training need not pass the gate
    assert re.search(r"lineage\s+.*holds\s+.*code, data and leaks are known", shown), shown
    assert "next:        python -m pipeline models" in done.stdout
    paths = Paths(checkout)
    _, facts = load_model(paths.best)
    assert facts["step"] == 2
    assert json.loads(paths.evaluate_metrics.read_text())["light"]["images"] == 2
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True).stdout.strip()
    version = MlflowClient(jobs_cluster.store).get_model_version("rdmc", "1")
    assert gaps(version.tags) == []
    assert version.tags["registered_commit"] == head
    trained = json.loads(paths.run.read_text())
    assert MlflowClient(jobs_cluster.store).get_run(trained["run_id"]).info.status == "FINISHED"
    assert trained["job"]["commit"] == head
    assert not [item.key for item in bucket.objects.filter(Prefix="main/ray/")], "nothing of a finished run stays there"
    jobs = jobs_cluster.jobs(monkeypatch)
    recorded = repr(jobs._client.list_jobs())
    assert "rdmc-release-" in recorded
    assert s3.secret_key not in recorded
    assert s3.access_key not in recorded
    assert s3.secret_key not in shown

    failed = submit(jobs_cluster, s3, checkout, "submitted", "promote", "99")
    assert failed.returncode == 1, failed.stdout
    assert "error: " in failed.stdout


@pytest.mark.slow
def test_a_training_is_left_followed_and_stopped(jobs_cluster: Cluster, s3: S3Server, tmp_path: Path) -> None:
    many = {"train.steps": 100_000, "train.validate_every": 50_000}
    checkout = make_checkout(tmp_path / "checkout", s3.bucket("stopped"), tmp_path / "made", many, "main/")
    (checkout / "rdmc/metrics.py").write_text((checkout / "rdmc/metrics.py").read_text() + "\n")
    left = submit(jobs_cluster, s3, checkout, "stopped", "train", "--detach")
    assert left.returncode == 0, left.stderr
    assert "with other code, so the gate will refuse the model: rdmc/metrics.py not as in the commit" in left.stdout
    (name,) = re.findall(r"--attach (\S+)", left.stdout)
    stopped = submit(jobs_cluster, s3, checkout, "stopped", "--cancel", name)
    assert f"{name}: stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    followed = submit(jobs_cluster, s3, checkout, "stopped", "--attach", name)
    assert followed.returncode == 143, followed.stdout + followed.stderr
    assert not (checkout / "checkpoints").exists()


@pytest.fixture
def checkout(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_checkout(tmp_path / "checkout", s3.bucket("refused"), tmp_path / "made")
    monkeypatch.chdir(root)
    return root


def test_what_cannot_run_is_refused_before_a_cluster_is_asked(checkout: Path, s3: S3Server) -> None:
    from pipeline.config.params import read_params

    params = read_params(checkout / "params.yaml")

    def project(bucket: str) -> Project[Params]:
        return Project(params, Settings(bucket=bucket), Paths())

    nowhere = "http://127.0.0.1:1"
    with pytest.raises(ConfigError, match="'search': no job can run it, these can: train,"):
        run(project("s3://refused"), Job("search"), nowhere)
    with pytest.raises(ConfigError, match="^RDMC_BUCKET: is not set"):
        run(project(""), Job("train"), nowhere)
    with pytest.raises(ServiceError, match="no such bucket"):
        run(project("s3://no-such-bucket"), Job("train"), nowhere)
    s3.bucket("empty")
    with pytest.raises(DataError, match=r"^s3://empty/dvc/files/md5/.*: no such object; run `dvc push`"):
        run(project("s3://empty"), Job("train"), nowhere)
    with pytest.raises(ServiceError, match="start the head, or set RAY_API_SERVER_ADDRESS"):
        run(project("s3://refused"), Job("train"), nowhere)
    (checkout / "dvc.lock").write_text("stages: {}\n")
    with pytest.raises(DataError, match="data/shards/light: neither on disk nor in dvc.lock"):
        run(project("s3://refused"), Job("train"), nowhere)
