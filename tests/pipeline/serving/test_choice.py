"""Which model is used if none is named: a fresh folder, a candidate, a champion, a registry that fails; and named models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.serving.choice import NAMES, REFERENCE, ModelChoice, choose, load_chosen, load_named, store_is_missing
from rdmc import reference
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.errors import CheckpointError, MissingError, ServiceError
from rdmc.files import file_digest
from rdmc.models.baselines import PReNet, PReNetConfig
from tests.support.followed import Registry
from tests.support.ports import free_port
from tests.support.registry import add_versions

RAIN = Register(model="rain", alias="candidate", champion="champion")


def test_without_a_store_it_is_the_reference_and_no_store_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store_is_missing(Settings())
    assert choose(NAMES, Settings()) == ModelChoice(REFERENCE, "nothing is registered yet")
    assert list(tmp_path.iterdir()) == []


def test_the_champion_comes_before_the_candidate_and_the_candidate_before_the_reference(store: str) -> None:
    client = MlflowClient(store, store)
    assert not store_is_missing(Settings())
    nothing = ModelChoice(REFERENCE, "rain has no champion and no candidate")
    assert choose(RAIN, Settings()) == nothing
    add_versions(client, "rain", 2)
    assert choose(RAIN, Settings()) == nothing, "versions without an alias are not chosen"
    client.set_registered_model_alias("rain", "candidate", "2")
    assert choose(RAIN, Settings()) == ModelChoice("models:/rain@candidate", "there is no champion")
    client.set_registered_model_alias("rain", "champion", "1")
    assert choose(RAIN, Settings()) == ModelChoice("models:/rain@champion")


def test_the_model_is_loaded_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 300)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for given, why in (("", "; nothing is registered yet"), (REFERENCE, "")):
        found = load_chosen(given, Settings())
        assert found.name == REFERENCE
        assert capsys.readouterr().out == f"model: {found}{why}\n"


def test_the_names_are_those_of_the_params(store: str) -> None:
    client = MlflowClient(store, store)
    add_versions(client, "snow", 1)
    client.set_registered_model_alias("snow", "live", "1")
    assert choose(Register(model="snow", alias="next", champion="live"), Settings()) == ModelChoice("models:/snow@live")
    assert choose(RAIN, Settings()).model == REFERENCE


def test_a_registry_that_cannot_be_asked_is_an_error_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in (f"http://me:secret@127.0.0.1:{free_port()}", f"sqlite:///{tmp_path}/damaged.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        (tmp_path / "damaged.db").write_bytes(b"no database" * 100)
        with pytest.raises(ServiceError, match="or name another model: --model reference$") as caught:
            choose(NAMES, Settings(mlflow_timeout=1))
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_registered_model_says_where_it_comes_from(models: Registry) -> None:
    found = load_named("models:/rain@champion", Settings())
    assert (found.name, found.version, found.sha256) == ("rain", "1", file_digest(models.folders[0] / WEIGHTS))
    assert str(found) == f"rain version 1 (models:/rain@champion, MLflow at {models.uri})"
    assert not found.network.training


def test_a_choice_that_cannot_be_loaded_is_an_error_and_not_skipped(store: str) -> None:
    client = MlflowClient(store, store)
    add_versions(client, "rain", 1)  # without a model
    client.set_registered_model_alias("rain", "champion", "1")
    with pytest.raises((ServiceError, CheckpointError)) as caught:
        load_named(choose(RAIN, Settings()).model, Settings())
    assert "\n" not in str(caught.value)


def test_the_reference_has_the_version_of_its_card() -> None:
    found, card = load_named(REFERENCE, Settings()), reference.reference_card()
    assert (found.name, found.version, found.sha256) == ("reference", card.version, card.sha256)
    assert str(found) == f"reference version {card.version} (comes with the package)"
    assert found.network.config == card.network


def test_folders_and_published_files_are_named_by_their_path(models: Registry, tmp_path: Path) -> None:
    found = load_named(str(models.folders[1]), Settings())
    assert (str(found), found.version) == (str(models.folders[1]), "")
    assert found.network.config == load_model(models.folders[1])[0].config
    torch.save(PReNet(PReNetConfig(width=2)).state_dict(), tmp_path / "prenet.pth")
    found = load_named(str(tmp_path / "prenet.pth"), Settings())
    assert (found.name, str(found), found.sha256) == (
        "prenet.pth",
        f"{tmp_path}/prenet.pth",
        file_digest(tmp_path / "prenet.pth"),
    )


def test_a_folder_called_reference_is_named_by_its_path(
    models: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / REFERENCE).symlink_to(models.folders[0])
    assert load_named(REFERENCE, Settings()).version
    assert load_named(f"./{REFERENCE}", Settings()).version == ""


def test_models_that_do_not_exist_are_errors(models: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, error in (("models:/rain@nobody", MissingError), (str(tmp_path / "none"), CheckpointError)):
        with pytest.raises(error):
            load_named(name, Settings())
    monkeypatch.setattr(reference, "CARD", "none.json")
    with pytest.raises(CheckpointError, match="none.json: .*; restore it with `git checkout rdmc/weights`"):
        load_named(REFERENCE, Settings())
