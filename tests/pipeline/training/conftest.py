"""Trainings of two workers in a Ray of their own, on a small dataset in light rain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.cluster import cluster
from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.settings import Settings
from tests.support.data import LIGHT, make_dataset, tiny_params

SETTINGS = Settings(workers=2, gpu=False)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A project with shards of light rain."""
    made = Paths(tmp_path_factory.mktemp("project"))
    make_dataset(made, "light")
    return made


@pytest.fixture(scope="module")
def params() -> Params:
    """Params that train on it in a moment."""
    return tiny_params(LIGHT)


@pytest.fixture(scope="module")
def running_ray() -> Iterator[None]:
    """A Ray for the tests of a module."""
    with cluster(SETTINGS):
        yield
