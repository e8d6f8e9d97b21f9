"""Settings are read from the environment, with types."""

from __future__ import annotations

import pytest

from pipeline.config.settings import Settings, read_settings
from rdmc.errors import ConfigError


def test_defaults_need_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RDMC_{name.upper()}", raising=False)
    settings = read_settings()
    assert (settings.ray_address, settings.bucket, settings.workers) == ("local", "", 0)
    assert settings.tracking_uri == "sqlite:///mlflow.db"


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDMC_WORKERS", "4")
    monkeypatch.setenv("RDMC_BUCKET", "s3://rain/team/")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    settings = read_settings()
    assert (settings.workers, settings.bucket) == (4, "s3://rain/team")
    assert settings.tracking_uri == "http://127.0.0.1:5000"


@pytest.mark.parametrize(("name", "value"), [("RDMC_WORKERS", "many"), ("RDMC_WORKERS", "-1"), ("RDMC_BUCKET", "rain")])
def test_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^{name}: '{value}'") as error:
        read_settings()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("RDMC_WORKER", "RDMC_WORKERS"), ("RDMC_RAY_ADRESS", "RDMC_RAY_ADDRESS"), ("RDMC_SHARDCACHE_MB", "RDMC_SHARD_CACHE_MB")],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch, name: str, nearest: str) -> None:
    monkeypatch.setenv(name, "4")
    with pytest.raises(ConfigError, match=rf"^{name}: is no setting, the nearest is {nearest}; ") as error:
        read_settings()
    assert "\n" not in str(error.value)


def test_variables_that_kubernetes_sets_for_services_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for end in ("SERVICE_HOST", "SERVICE_PORT_DASHBOARD", "PORT", "PORT_6379_TCP", "PORT_6379_TCP_ADDR"):
        monkeypatch.setenv(f"RDMC_HEAD_SVC_{end}", "10.0.0.1")
    read_settings()


def test_an_experiment_uses_the_store_of_the_main_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", "/home/me/rain")
    assert read_settings().tracking_uri == "sqlite:///mlflow.db", "`dvc repro` sets DVC_ROOT too"
    monkeypatch.setenv("DVC_EXP_NAME", "brave-seed")
    assert read_settings().tracking_uri == "sqlite:////home/me/rain/mlflow.db"
    for uri in ("http://127.0.0.1:5000", "sqlite:////data/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert read_settings().tracking_uri == uri


def test_a_job_without_a_server_for_its_runs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDMC_GIT_COMMIT", "a" * 40)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match=r"^MLFLOW_TRACKING_URI: is not set on this node"):
        _ = read_settings().tracking_uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert read_settings().tracking_uri == "http://mlflow:5000"
    monkeypatch.setenv("RDMC_GIT_COMMIT", "main")
    with pytest.raises(ConfigError, match=r"^RDMC_GIT_COMMIT: 'main'"):
        read_settings()
