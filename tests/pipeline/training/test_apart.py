"""A training on a real head, from a checkout without data: shards and checkpoints in a bucket, RDMC_DATA in another folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from rdmc.checkpoint import load_model
from rdmc.data.shards import MANIFEST, read_manifest
from tests.support.checkout import make_checkout
from tests.support.ray_head import Head, ray_head
from tests.support.s3 import S3Server


def train(head: Head, checkout: Path, data: Path, store: str, bucket: str) -> subprocess.CompletedProcess[str]:
    """Run ``train`` in the checkout with its results in another folder."""
    variables = {
        **head.environment,
        "PYTHONPATH": str(checkout),
        "RDMC_RAY_ADDRESS": head.address,
        "RDMC_BUCKET": f"s3://{bucket}",
        "RDMC_DATA": str(data),
        "RDMC_WORKERS": "2",
        "MLFLOW_TRACKING_URI": store,
    }
    command = [sys.executable, "-m", "pipeline", "train"]
    return subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True, check=False, timeout=400)


@pytest.mark.slow
def test_workers_read_the_bucket_whatever_their_folder_is(s3: S3Server, store: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    checkout = make_checkout(tmp_path / "checkout", s3.bucket("apart"), made, {"train.steps": 2, "train.validate_every": 2})
    with ray_head(cpus=3) as head:
        done = train(head, checkout, tmp_path / "data", store, "apart")
    assert done.returncode == 0, done.stdout + done.stderr
    paths = Paths(tmp_path / "data")
    _, facts = load_model(paths.best)
    assert facts["step"] == 2
    manifest = read_manifest(Paths(made).shards("light") / MANIFEST)
    assert {path.stem for path in paths.shard_cache.glob("*.tar")} >= {
        shard.md5 for shard in manifest.shards if shard.split == "train"
    }
    assert not (checkout / ".cache").exists(), "nothing was read beside dvc.lock"
    assert json.loads(paths.run.read_text())["run_id"]
