"""Ray's job client on a real head: output, exit codes, stops, and errors in one line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.jobs.client import ADDRESS, ENDED, STOPPED, Jobs
from rdmc.errors import ServiceError
from tests.pipeline.jobs.conftest import Cluster
from tests.support.imports import ROOT
from tests.support.waiting import until


@pytest.mark.slow
def test_a_job_is_followed_to_its_exit_code(
    jobs_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_cluster.jobs(monkeypatch)
    code = "import sys, time; print('first', flush=True); time.sleep(2); print('last'); sys.exit(7)"
    jobs.submit("ends", f'python -c "{code}"', {}, {"rdmc.run": "train-1"})
    jobs.follow("ends")
    shown = capsys.readouterr().out
    assert shown.rindex("first") < shown.rindex("last")
    assert (jobs.state("ends"), jobs.exit_code("ends"), jobs.metadata("ends")) == ("FAILED", 7, {"rdmc.run": "train-1"})
    assert "\n" not in jobs.message("ends")
    jobs.follow("ends")
    assert capsys.readouterr().out == shown, "a job that has ended is shown again as a whole"
    assert asyncio.run(jobs._print("ends", shown.rindex("last"))) == len(shown)
    assert capsys.readouterr().out == "last\n", "after a lost connection, only what is new"


def test_a_job_that_is_stopped(jobs_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_cluster.jobs(monkeypatch)
    jobs.submit("stops", "sleep 600", {}, {})
    until(lambda: jobs.state("stops") == "RUNNING")
    assert jobs.stop("stops") == "STOPPED" in ENDED
    assert jobs.exit_code("stops") == STOPPED
    with pytest.raises(ServiceError, match="no-such-job"):
        jobs.state("no-such-job")


def test_another_cluster_s_token_is_named(jobs_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    environment = {**jobs_cluster.head.environment, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline", "submit", "--cancel", "any", "--address", jobs_cluster.head.dashboard]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr  # a process reads its token once
    assert "RAY_AUTH_TOKEN_PATH to the cluster's token" in done.stderr


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "127.0.0.1:8265", "ray://user:secret@head:10001"])
def test_an_address_without_a_dashboard_is_one_line(address: str) -> None:
    with pytest.raises(ServiceError, match=ADDRESS) as caught:
        Jobs(address)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
