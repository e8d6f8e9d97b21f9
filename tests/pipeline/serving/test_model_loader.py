"""A model that follows an alias of a real SQLite store: moves, cached copies, an unavailable registry, bad versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.settings import Settings
from pipeline.serving import derain, export
from pipeline.serving.model_loader import KEPT, FollowedModel, has_copy
from rdmc.checkpoint import WEIGHTS, load_model, write_model
from rdmc.data.images import write_png
from rdmc.errors import CheckpointError, MissingError, ServiceError
from rdmc.inference import derain_image
from rdmc.models.baselines import PReNet, PReNetConfig
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.reference import load_reference, reference_card
from tests.support.followed import Registry, spoil

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.fixture
def followed(models: Registry, tmp_path: Path) -> FollowedModel:
    models.promote(1)
    return FollowedModel("models:/rain@champion", Settings(), tmp_path / "cache")


def derained(model: FollowedModel) -> np.ndarray:
    return derain_image(model.current.network, IMAGE)


def expected(folder: Path) -> np.ndarray:
    return derain_image(load_model(folder)[0], IMAGE)


def test_the_model_follows_the_alias_there_and_back(models: Registry, followed: FollowedModel) -> None:
    before = followed.current
    assert (before.name, before.version) == ("rain", "1")
    assert np.array_equal(derained(followed), expected(models.folders[0]))
    assert not followed.refresh()
    assert followed.current is before, "nothing is loaded again"
    models.promote(2)
    assert followed.refresh()
    assert followed.current.version == "2"
    assert np.array_equal(derained(followed), expected(models.folders[1]))
    assert np.array_equal(derain_image(before.network, IMAGE), expected(models.folders[0])), (
        "the old model still works for its users"
    )
    models.promote(1)
    assert followed.refresh()
    assert np.array_equal(derained(followed), expected(models.folders[0]))
    assert len([path for path in followed.cache.iterdir() if path.is_dir()]) == 2 <= KEPT


@contextmanager
def away(models: Registry) -> Iterator[None]:
    store = Path(models.uri.removeprefix("sqlite:///"))
    store.rename(store.with_suffix(".away"))
    try:
        yield
    finally:
        store.with_suffix(".away").rename(store)


def test_an_unavailable_registry_keeps_the_current_model(models: Registry, followed: FollowedModel, tmp_path: Path) -> None:
    before = followed.current
    with away(models):
        assert not followed.refresh()
        assert followed.current is before
        assert "no MLflow store" in followed.problem
        again = FollowedModel("models:/rain@champion", Settings(), followed.cache)
        assert (again.current.version, again.current.key) == (before.version, before.key), "a new process has the last one"
        assert "no MLflow store" in again.problem
        with pytest.raises(ServiceError, match="no MLflow store"):
            FollowedModel("models:/rain@champion", Settings(), tmp_path / "empty")
    assert not again.refresh()
    assert again.problem == ""


def test_a_missing_alias_is_not_served_from_the_cache(models: Registry, followed: FollowedModel) -> None:
    models.client.delete_registered_model_alias("rain", "champion")
    with pytest.raises(MissingError, match="promote candidate"):
        FollowedModel("models:/rain@champion", Settings(), followed.cache)
    assert not followed.refresh()
    assert "promote candidate" in followed.problem


def test_two_stores_can_share_a_cache(
    models: Registry, followed: FollowedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for uri in ("http://me:secret@127.0.0.1:9", f"sqlite:///{tmp_path}/other.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ServiceError) as caught:
            FollowedModel("models:/rain@champion", Settings(), followed.cache)
        assert "secret" not in str(caught.value)
    monkeypatch.chdir(Path(models.uri.removeprefix("sqlite:///")).parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with away(models):
        same = FollowedModel("models:/rain@champion", Settings(), followed.cache)
    assert same.current.key == followed.current.key, "one store, whatever folder its name is relative to"


def test_each_name_keeps_its_own_last_models(models: Registry, followed: FollowedModel) -> None:
    for version in (2, 1):
        FollowedModel(f"models:/rain/{version}", Settings(), followed.cache)
    assert len([path for path in followed.cache.iterdir() if path.is_dir()]) == 2
    note = next(path for path in followed.cache.glob("*.json") if '"version": "2"' in path.read_text())
    note.write_text("damaged")
    FollowedModel("models:/rain/1", Settings(), followed.cache)
    assert [path.name for path in followed.cache.iterdir() if path.is_dir()] == [followed.current.key], (
        "the other name's model stays"
    )


def test_a_damaged_copy_is_downloaded_again(models: Registry, followed: FollowedModel) -> None:
    copy = followed.cache / followed.current.key / WEIGHTS
    for damage in (lambda: spoil(copy), lambda: copy.write_bytes(b"x"), copy.unlink):
        damage()
        with away(models), pytest.raises(ServiceError, match="no MLflow store"):
            FollowedModel("models:/rain@champion", Settings(), followed.cache)
        again = FollowedModel("models:/rain@champion", Settings(), followed.cache)
        assert np.array_equal(derained(again), derained(followed))
        assert copy.read_bytes() == (models.folders[0] / WEIGHTS).read_bytes()


def test_weights_that_differ_from_the_registered_ones_are_refused(
    models: Registry, followed: FollowedModel, tmp_path: Path
) -> None:
    made = models.add(models.folders[1])
    spoil(models.files(made) / WEIGHTS)
    png = tmp_path / "a.png"
    write_png(png, IMAGE)
    uri = f"models:/rain/{made}"
    for command in (
        lambda: FollowedModel(uri, Settings(), tmp_path / "cache"),
        lambda: derain.run(png, tmp_path / "b.png", uri, Settings()),
        lambda: export.run(uri, tmp_path / "out", "pt2", Settings()),
    ):
        with pytest.raises(CheckpointError, match="the artifact is damaged") as caught:
            command()
        assert "\n" not in str(caught.value)
    models.promote(made)
    assert not followed.refresh()
    assert (followed.current.version, "artifact is damaged" in followed.problem) == ("1", True)


def test_a_full_disk_stops_no_model(models: Registry, followed: FollowedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    models.promote(2)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.serving.model_loader.write_text", full)
        patch.setattr("pipeline.serving.model_loader.shutil.copytree", full)
        assert followed.refresh()
    assert followed.current.version == "2"
    monkeypatch.setattr("pipeline.serving.model_loader.named_version", full)
    assert FollowedModel("models:/rain@champion", Settings(), followed.cache).current.version == "1", (
        "the last one that could be noted"
    )


def test_a_bad_version_never_serves(models: Registry, followed: FollowedModel, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        network = RDMC(RDMCConfig(width=2, passes=1, stem=2))
    torch.nn.init.constant_(network.head.weight, float("nan"))
    (tmp_path / "nan").mkdir()
    write_model(tmp_path / "nan", network.config, network.state_dict(), {})
    made = models.add(tmp_path / "nan")
    before = followed.current
    models.promote(made)
    assert not followed.refresh()
    assert followed.current is before
    assert "not finite" in followed.problem


def test_wrong_names_are_errors(models: Registry, tmp_path: Path) -> None:
    for uri, error in (
        ("models:/rain@nobody", ServiceError),
        ("models:/rain", ServiceError),
        ("models:/other/1", ServiceError),
        (str(tmp_path / "none"), CheckpointError),
    ):
        with pytest.raises(error) as caught:
            FollowedModel(uri, Settings(), tmp_path / "cache")
        assert "\n" not in str(caught.value)
    assert FollowedModel(str(models.folders[0]), Settings(), tmp_path / "cache").current.version == ""


def test_the_reference_model_is_followed_without_a_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    model, card = FollowedModel("reference", Settings(), tmp_path / "cache"), reference_card()
    assert (model.current.name, model.current.version, model.current.sha256) == ("reference", card.version, card.sha256)
    assert not model.refresh()
    assert model.problem == ""
    assert np.array_equal(derained(model), derain_image(load_reference(), IMAGE))
    assert list(tmp_path.iterdir()) == []


def test_published_weights_are_served_without_a_registry(tmp_path: Path) -> None:
    network = PReNet(PReNetConfig(width=2)).eval()
    torch.save({"params": network.state_dict()}, tmp_path / "prenet.pth")
    model = FollowedModel(str(tmp_path / "prenet.pth"), Settings(), tmp_path / "cache")
    assert (model.current.name, model.current.version, model.refresh()) == ("prenet.pth", "", False)
    assert np.array_equal(derained(model), derain_image(network, IMAGE))


def test_a_copy_in_the_cache_is_known_by_its_name_and_store(
    models: Registry, followed: FollowedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_copy("models:/rain@champion", Settings(), followed.cache)
    assert not has_copy("models:/rain@candidate", Settings(), followed.cache)
    assert not has_copy("models:/rain@champion", Settings(), followed.cache / "other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert not has_copy("models:/rain@champion", Settings(), followed.cache)
