"""Reading versions from a real store."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from pipeline.config.settings import Settings
from pipeline.registry.versions import (
    all_versions,
    ensure_model,
    figures,
    find_version,
    first_known,
    known_aliases,
    known_version,
    load_registered,
    load_version,
    named_version,
    params_of,
)
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.errors import CheckpointError, MissingError
from rdmc.files import file_digest
from tests.support.followed import Registry, spoil, write_small
from tests.support.registry import add_versions, make_version


@pytest.fixture
def client(store: str) -> MlflowClient:
    """Three versions without models; version 3 is the candidate."""
    client = MlflowClient(store, store)
    add_versions(client, "rdmc", 3)
    client.set_registered_model_alias("rdmc", "candidate", "3")
    return client


def test_a_version_knows_its_data_digest_and_names() -> None:
    version = make_version(7, {"data.light": "l1", "data.heavy": "h1", "model_sha256": "abc", "dvc.data/shards/light": "x"})
    assert (version.label, version.uri, version.digest) == ("version 7", "models:/rdmc/7", "abc")
    assert version.data == {"light": "l1", "heavy": "h1"}
    assert make_version(1).digest == ""


def test_a_model_that_does_not_exist_has_no_versions_or_aliases(client: MlflowClient) -> None:
    assert all_versions(client, "other") == []
    assert known_aliases(client, "other") == {}
    assert known_version(client, "other", 1) is None


def test_all_versions_are_listed_in_order_with_their_aliases(client: MlflowClient) -> None:
    assert [(version.number, version.aliases) for version in all_versions(client, "rdmc")] == [
        (1, ()),
        (2, ()),
        (3, ("candidate",)),
    ]


def test_a_version_is_found_by_number_and_alias(client: MlflowClient) -> None:
    assert find_version(client, "rdmc", "2").number == 2
    assert find_version(client, "rdmc", "candidate").number == 3
    with pytest.raises(MissingError, match=r"^9: no version or alias of 'rdmc' \(there are 1, 2, 3, candidate\); name another"):
        find_version(client, "rdmc", "9")
    with pytest.raises(MissingError, match=r"^champion: .*; run `python -m pipeline promote candidate`, or name another"):
        find_version(client, "rdmc", "champion")
    with pytest.raises(MissingError, match="nothing is registered; run `make repro`"):
        find_version(client, "other", "1")


def test_deleted_versions_are_passed_over(client: MlflowClient) -> None:
    client.delete_model_version("rdmc", "2")
    version, gone = first_known(client, "rdmc", [2, 9, 1, 3])
    assert version is not None
    assert (version.number, gone) == (1, [2, 9])
    assert first_known(client, "rdmc", [2]) == (None, [2])
    assert known_version(client, "rdmc", 0) is None, "0 stands for no version"


def test_creating_a_model_twice_keeps_the_first(client: MlflowClient) -> None:
    ensure_model(client, "log", "first")
    ensure_model(client, "log", "second")
    assert client.get_registered_model("log").description == "first"


def test_figures_and_params_come_from_the_run(client: MlflowClient) -> None:
    version = find_version(client, "rdmc", "1")
    client.log_metric(version.run_id, "evaluate/light/derained/psnr_y", 30.5)
    client.log_metric(version.run_id, "loss", 0.1)
    client.log_param(version.run_id, "train.lr", "0.1")
    assert figures(client, version) == {"light/derained/psnr_y": 30.5}
    assert params_of(client, version) == {"train.lr": "0.1"}
    for gone in (make_version(1, run_id=""), make_version(1, run_id="0" * 32)):
        assert (figures(client, gone), params_of(client, gone)) == ({}, {})


@pytest.mark.parametrize("uri", ["models:/rdmc", "models:/rdmc@", "models:/a/b/c", "runs:/rdmc/1", "folder"])
def test_a_uri_of_another_form_names_no_model(client: MlflowClient, uri: str) -> None:
    with pytest.raises(MissingError, match="names no model; write models:/name@alias or models:/name/version"):
        named_version(uri, Settings())


def test_a_uri_names_a_version(client: MlflowClient) -> None:
    assert named_version("models:/rdmc@candidate", Settings()).number == 3
    assert named_version("models:/rdmc/2", Settings()).number == 2


def test_a_registered_network_is_loaded_from_its_version(models: Registry) -> None:
    network = load_version(named_version("models:/rain/2", Settings()), Settings())
    expected = load_model(models.folders[1])[0].state_dict()
    assert all(value.equal(expected[name]) for name, value in network.state_dict().items())
    assert not network.training


def test_weights_with_another_digest_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_small(tmp_path_factory.mktemp("model") / "best", 1)
    digest = file_digest(folder / WEIGHTS)
    load_registered(folder, "models:/rain/1", digest)
    spoil(folder / WEIGHTS)
    load_registered(folder, "models:/rain/1", "")
    with pytest.raises(CheckpointError, match=rf"^models:/rain/1: .*registered were {digest[:12]}…; the artifact is damaged"):
        load_registered(folder, "models:/rain/1", digest)
    (folder / WEIGHTS).write_bytes(b"")
    with pytest.raises(
        CheckpointError, match="; register it again with `dvc repro --force --single-item register`, or name another$"
    ) as caught:
        load_registered(folder, "models:/rain/1", digest)
    assert str(folder) not in str(caught.value)
