"""The S3 server: its bucket is there from the start, for those who have the keys."""

from __future__ import annotations

import stat

import boto3
import pytest
from botocore.exceptions import ClientError

from pipeline.config.settings import Settings
from pipeline.stack.s3_server import answers, client_variables, service
from pipeline.stack.service import bring_up
from pipeline.stack.state import State
from pipeline.storage.s3 import check_bucket
from rdmc.errors import ServiceError
from tests.support.ports import free_port
from tests.support.waiting import hanging_up


def test_objects_are_put_and_read_with_the_keys_and_refused_without(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    made = service(state, port)
    bring_up(made, state)
    variables = client_variables(state, port)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = boto3.Session().client("s3")
    client.put_object(Bucket="rdmc", Key="main/dvc/one", Body=b"rain")
    assert client.get_object(Bucket="rdmc", Key="main/dvc/one")["Body"].read() == b"rain"
    assert (state.root / "s3/rdmc/main/dvc/one").read_bytes() == b"rain"
    assert stat.S_IMODE((state.root / "s3").stat().st_mode) == 0o700
    check_bucket(Settings(bucket="s3://rdmc/main"))
    with pytest.raises(ServiceError, match="no such bucket"):
        check_bucket(Settings(bucket="s3://none/main"))
    with pytest.raises(ClientError, match="403"):
        boto3.Session().client(
            "s3", aws_access_key_id=variables["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong"
        ).head_bucket(Bucket="rdmc")
    assert variables["AWS_SECRET_ACCESS_KEY"] not in " ".join(made.command) + state.log("s3").read_text()


def test_what_is_no_s3_server_does_not_answer() -> None:
    assert not answers(free_port())
    with hanging_up() as (port, _):
        assert not answers(port)
