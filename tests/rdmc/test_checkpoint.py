"""Models on disk: a round trip, and a one-line error for each kind of damage."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from rdmc.checkpoint import FACTS, WEIGHTS, load_model, write_model
from rdmc.errors import CheckpointError
from rdmc.models.rdmc import RDMC, RDMCConfig
from tests.support.loading import damage, random_state_kept

CONFIG = RDMCConfig(width=2, passes=2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(folder, CONFIG, RDMC(CONFIG).state_dict(), {"step": 3})
    return folder


def test_a_model_is_loaded_as_written(model: Path) -> None:
    network, facts = load_model(model)
    again, _ = load_model(model)
    assert network.config == CONFIG
    assert facts["step"] == 3
    assert not network.training
    image = torch.rand(1, 3, 20, 33)
    assert torch.equal(network(image), again(image))


def test_loading_does_not_change_the_random_state(model: Path) -> None:
    with random_state_kept():
        load_model(model)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model folder"):
        load_model(tmp_path / "none")


@pytest.mark.parametrize("name", [WEIGHTS, FACTS])
@pytest.mark.parametrize("content", [b"", b"\x00" * 50, None])
def test_a_damaged_file_is_named(model: Path, name: str, content: bytes | None) -> None:
    damage(model / name, content)
    with pytest.raises(CheckpointError, match=name) as error:
        load_model(model)
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(model: Path) -> None:
    other = RDMCConfig(width=3, passes=2)
    facts = json.loads((model / FACTS).read_text())
    (model / FACTS).write_text(json.dumps({**facts, "network": asdict(other)}))
    with pytest.raises(CheckpointError, match="the network needs"):
        load_model(model)
    (model / FACTS).write_text(json.dumps({**facts, "network": {**asdict(CONFIG), "connections": []}}))
    with pytest.raises(CheckpointError, match="unknown tensor"):
        load_model(model)
    (model / FACTS).write_text(json.dumps({**facts, "network": {**asdict(CONFIG), "shape": 1}}))
    with pytest.raises(CheckpointError, match="not a network this version can build"):
        load_model(model)
