"""Errors of the registry, and the model folder inside a version."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException

from pipeline.config.settings import Settings
from pipeline.registry.client import model_folder, registry, registry_for
from pipeline.tracking.tracker import Tracker
from rdmc.checkpoint import WEIGHTS
from rdmc.errors import MissingError, ServiceError
from tests.support.followed import Registry
from tests.support.ports import free_port
from tests.support.registry import add_versions


def test_an_error_of_mlflow_is_one_line_with_its_address(store: str) -> None:
    with pytest.raises(ServiceError) as caught, registry(Settings()):
        raise MlflowException("first\nsecond")
    assert str(caught.value).startswith(f"MLflow at {store}: ")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; fix it, then run this command again")


@pytest.mark.usefixtures("alone")
def test_a_registration_after_and_amid_a_training_has_time_for_its_uploads(store: str) -> None:
    with Tracker.start(Settings(), "train", {}):
        assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == Settings().mlflow_timeout
        with registry(Settings()):
            assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 120
        assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == Settings().mlflow_timeout
    with registry(Settings()):
        assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 120


def test_an_error_of_this_program_passes_unchanged(store: str) -> None:
    with pytest.raises(ZeroDivisionError), registry(Settings()):
        raise ZeroDivisionError


def test_a_server_that_cannot_be_reached_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    with pytest.raises(ServiceError, match=f"http://127.0.0.1:{port}") as caught, registry(Settings(mlflow_timeout=1)):
        pytest.fail("there is no server")
    assert "secret" not in str(caught.value)


def test_reading_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    with (
        pytest.raises(ServiceError, match="^models:/rdmc/1: there is no MLflow store"),
        registry_for("models:/rdmc/1", Settings()),
    ):
        pytest.fail("there is no store")
    assert not (tmp_path / "none.db").exists()


def test_something_that_mlflow_does_not_know_is_missing(store: str) -> None:
    missing = pytest.raises(MissingError, match="^models:/rdmc/1: .*; register a model")
    with missing as caught, registry_for("models:/rdmc/1", Settings()) as client:
        client.get_model_version("rdmc", "1")
    assert "\n" not in str(caught.value)


def test_the_model_folder_is_there_until_the_block_ends(models: Registry) -> None:
    with model_folder("models:/rain/2", Settings()) as folder:
        assert (folder / WEIGHTS).read_bytes() == (models.folders[1] / WEIGHTS).read_bytes()
    assert not folder.exists()


def test_a_version_without_a_model_is_missing(models: Registry) -> None:
    add_versions(models.client, "foreign", 1)
    with pytest.raises(ServiceError, match="models:/foreign/1"), model_folder("models:/foreign/1", Settings()):
        pytest.fail("it has no model")
