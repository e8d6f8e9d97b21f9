"""Errors of a real S3 server are one line without secrets."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from pipeline.config.settings import Settings
from pipeline.storage.dvc_remote import connect
from pipeline.storage.s3 import check_bucket
from rdmc.errors import ConfigError, ServiceError
from tests.support.s3 import S3Server


def _wrong_secret(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")


def _no_secret(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("AWS_SECRET_ACCESS_KEY")


def _nobody_listens(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


def _password_in_the_address(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL_S3", "http://user:hidden@127.0.0.1:9")


def _no_scheme(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_wrong_secret, "refuses these credentials"),
        (_no_secret, "no credentials"),
        (_nobody_listens, "127.0.0.1:9: EndpointConnectionError; start the server or fix AWS_ENDPOINT_URL"),
        (_password_in_the_address, "AWS_ENDPOINT_URL_S3: has a user or password"),
        (_no_scheme, "AWS_ENDPOINT_URL: Invalid endpoint"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line_without_secrets(
    spoil: object, expected: str, settings: Settings, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(spoil)
    spoil(monkeypatch)
    with pytest.raises((ServiceError, ConfigError), match=expected) as caught:
        connect(settings, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert s3.secret_key not in message
    assert "hidden" not in message


def test_a_missing_bucket_is_named_and_not_created(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"s3://absent/x: no such bucket at 127.0.0.1:.*RDMC_BUCKET"):
        connect(Settings(bucket="s3://absent/x"), tmp_path)
    assert "absent" not in [bucket.name for bucket in boto3.Session().resource("s3").buckets.all()]
    with pytest.raises(ConfigError, match="names no bucket"):
        check_bucket(Settings(bucket="s3://"))
    with pytest.raises(ConfigError, match="RDMC_BUCKET: is not set.*set it to"):
        connect(Settings(bucket=""), tmp_path)
