"""An outage of a real S3 server: requests wait for it, a limit ends them with its name, refusals do not wait."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import ray.train
from botocore.exceptions import ClientError

from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from pipeline.storage import lease as leases
from pipeline.storage import outage
from pipeline.storage.lease import leased
from pipeline.storage.outage import OutageError, is_outage
from pipeline.storage.runs import RunFiles, run_files
from pipeline.storage.s3 import TIMEOUTS
from rdmc.errors import ServiceError
from tests.support.data import toy_project
from tests.support.s3 import Host
from tests.support.waiting import until

LONG = 60.0
"""More seconds than an outage of these tests lasts."""


def place(tmp_path: Path, patience: float) -> RunFiles:
    settings = Settings(bucket="s3://team/rain", outage=patience)
    return run_files(toy_project(settings, Paths(tmp_path)), "run")


def test_requests_wait_for_the_server_and_say_so(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    monkeypatch.setattr(outage, "say", said.append)
    run = place(tmp_path, LONG)
    run.write("known", "one")
    (tmp_path / "made").mkdir()
    (tmp_path / "made/weights").write_bytes(bytes(3_000_000))
    with host.gone(met=lambda: said):
        run.put(tmp_path / "made", "checkpoint")
    with host.gone(1):
        assert run.read("known") == "one"
    with host.gone(1):
        assert run.folders() == ["checkpoint"], "an outage is not an empty folder"
    with host.gone(1), run.within("checkpoint").fetched() as folder:
        assert (folder / "weights").read_bytes() == bytes(3_000_000)
    assert said[0].startswith(f"s3://team at {host.server.endpoint.removeprefix('http://')} cannot be reached (")
    assert said[0].endswith("; trying again for 60 s (RDMC_OUTAGE)")
    assert said[1].endswith("answers again")


def test_the_limit_ends_a_request_with_the_name_of_the_bucket_and_no_false_cause(host: Host, tmp_path: Path) -> None:
    run = place(tmp_path, 2.0)
    run.within("checkpoint").write("weights", "x")
    host.stop()
    checkpoint = ray.train.Checkpoint(run.within("checkpoint").path, run.filesystem)
    begun = time.monotonic()
    with pytest.raises(OutageError, match=r"^s3://team at 127\.0\.0\.1:\d+: not reached for \d+ s \(\w+\); .*RDMC_OUTAGE"):
        checkpoint.to_directory(tmp_path / "back")
    assert time.monotonic() - begun >= 2
    with pytest.raises(OutageError):
        run.write("x", "y")
    begun = time.monotonic()
    with pytest.raises(ServiceError):
        place(tmp_path, LONG).at_once().write("x", "y")
    assert time.monotonic() - begun < LONG / 2


def test_what_is_not_there_and_what_is_refused_does_not_wait(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = place(tmp_path, LONG)
    begun = time.monotonic()
    assert run.read("absent") is None
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ServiceError, match="team"):
        place(tmp_path, LONG - 1).write("x", "y")
    assert time.monotonic() - begun < LONG / 2


@pytest.mark.parametrize("size", [1, 2 << 20])
def test_a_server_that_accepts_an_upload_and_never_answers_is_an_outage(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIMEOUTS, "read_timeout", 0.5)
    monkeypatch.setitem(TIMEOUTS, "retries", {"max_attempts": 0})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody reads
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OutageError, match=r"^s3://team at 127\.0\.0\.1:\d+: not reached for \d+ s"):
            place(tmp_path, 0.0).write("weights", "x" * size)


def test_the_holder_of_a_lease_says_that_the_bucket_is_gone_and_keeps_the_lease(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(leases, "RENEWAL", 0.2)
    monkeypatch.setattr(leases, "say", said.append)
    with leased(place(tmp_path, LONG)):
        host.stop()
        until(lambda: said)
        host.start()
        until(lambda: len(said) > 1)
        assert leases.holder(place(tmp_path, LONG))
    assert said[0].startswith("warning: s3://team at 127.0.0.1:")
    assert said[0].endswith("; what runs here tries again for RDMC_OUTAGE seconds")
    assert said[1] == "team/rain/ray/run can be written again"


def test_an_answer_of_the_server_is_an_outage_only_where_the_same_request_may_succeed_later() -> None:
    def answer(status: int) -> ClientError:
        return ClientError({"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")

    assert [status for status in (400, 403, 404, 429, 500, 503) if is_outage(answer(status))] == [429, 500, 503]
    translated = OSError("in words")
    translated.__cause__ = answer(503)
    assert is_outage(translated)
    assert not is_outage(OSError("disk"))
