"""A version with the same weights and data is found, unless its origin is less well known or its files are damaged."""

from __future__ import annotations

import shutil
from dataclasses import replace

from pipeline.config.settings import Settings
from pipeline.registry.client import registry
from pipeline.registry.twin import find_twin
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.files import file_digest
from tests.support.followed import Registry

KNOWN = {"data.light": "a", "dvc.data/shards/light": "1.dir", "registered_commit": "c", "code": "committed", "leaks": "0"}


def found(models: Registry, passes: int = 1, /, **changes: str) -> int:
    """The number of the twin of a model with the weights of version 2; 0 for none."""
    facts = {"model_sha256": file_digest(models.folders[1] / WEIGHTS), **KNOWN, **changes}
    config = replace(load_model(models.folders[1])[0].config, passes=passes)
    with registry(Settings()) as client:
        twin = find_twin(client, "rain", config, facts, Settings())
    return twin.number if twin else 0


def test_a_twin_has_equal_weights_and_data_and_an_origin_that_is_as_well_known(models: Registry) -> None:
    assert found(models) == 0, "the data of the versions is not known"
    for name, value in KNOWN.items():
        models.client.set_model_version_tag("rain", "2", name, value)
    assert found(models) == 2
    assert found(models, code="loop.py not as in the commit") == 2, "the origin of version 2 is known better"
    assert found(models, 2) == 0, "the same weights in another network"
    assert found(models, model_sha256="other") == 0
    assert found(models, **{"data.light": "b"}) == 0
    assert found(models, **{"data.heavy": "b"}) == 0
    models.client.set_model_version_tag("rain", "2", "code", "loop.py not as in the commit")
    assert found(models) == 0, "the new one's code is committed"
    models.client.set_model_version_tag("rain", "2", "code", "committed")
    shutil.rmtree(models.files(2))
    assert found(models) == 0, "its files are gone, so it has to be registered again"
