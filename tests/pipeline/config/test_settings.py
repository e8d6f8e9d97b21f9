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
