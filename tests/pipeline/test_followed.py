"""A model that follows an alias of a real SQLite store: moves, copies, a registry that is away, a version that is no good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.followed import KEPT, Followed
from pipeline.settings import Settings
from rdmc.checkpoint import load_model, write_model
from rdmc.errors import CheckpointError, ServiceError
from rdmc.inference import derain_image
from rdmc.network import RDMC, RDMCConfig
from tests.support.followed import Registry

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.fixture
def followed(models: Registry, tmp_path: Path) -> Followed:
    models.promote(1)
    return Followed("models:/rain@champion", Settings(), tmp_path / "cache")


def derained(model: Followed) -> np.ndarray:
    return derain_image(model.current.network, IMAGE)


def expected(folder: Path) -> np.ndarray:
    return derain_image(load_model(folder)[0], IMAGE)


def test_it_moves_with_the_alias_and_back(models: Registry, followed: Followed) -> None:
    before = followed.current
    assert (before.name, before.version) == ("rain", "1")
    assert np.array_equal(derained(followed), expected(models.folders[0]))
    assert not followed.refresh()
    assert followed.current is before, "nothing is loaded again"
    models.promote(2)
    assert followed.refresh()
    assert followed.current.version == "2"
    assert np.array_equal(derained(followed), expected(models.folders[1]))
    assert np.array_equal(derain_image(before.network, IMAGE), expected(models.folders[0])), "who held it still has it"
    models.promote(1)
    assert followed.refresh()
    assert np.array_equal(derained(followed), expected(models.folders[0]))
    assert len([path for path in followed.cache.iterdir() if path.is_dir()]) == 2 <= KEPT


def test_a_registry_that_is_away(models: Registry, followed: Followed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = followed.current
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert not followed.refresh()
    assert followed.current is before
    assert "cannot be reached" in followed.problem
    again = Followed("models:/rain@champion", Settings(), followed.cache)
    assert (again.current.version, again.current.key) == (before.version, before.key), "a new process has the last one"
    assert "cannot be reached" in again.problem
    with pytest.raises(ServiceError, match="cannot be reached"):
        Followed("models:/rain@champion", Settings(), tmp_path / "empty")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", models.uri)
    assert not again.refresh()
    assert again.problem == ""


def test_a_version_that_is_no_good_never_serves(models: Registry, followed: Followed, tmp_path: Path) -> None:
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


def test_what_is_named_wrongly(models: Registry, tmp_path: Path) -> None:
    for uri, error in (
        ("models:/rain@nobody", ServiceError),
        ("models:/rain", ServiceError),
        ("models:/other/1", ServiceError),
        (str(tmp_path / "none"), CheckpointError),
    ):
        with pytest.raises(error) as caught:
            Followed(uri, Settings(), tmp_path / "cache")
        assert "\n" not in str(caught.value)
    assert Followed(str(models.folders[0]), Settings(), tmp_path / "cache").current.version == ""
