"""``export``: where the model comes from and what is kept with it. tests/rdmc tests the exported graphs themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.serving import export
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.errors import CheckpointError, DataError, MissingError
from rdmc.files import file_digest
from rdmc.models.base import Restorer
from rdmc.models.baselines import PReNet, PReNetConfig
from rdmc.reference import reference_card
from tests.support.followed import Registry


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Restorer]:
    """The networks that were exported; only the facts are written, because tracing a network takes long."""
    networks: list[Restorer] = []

    def write(network: Restorer, folder: Path, form: str, facts: Mapping[str, Any]) -> Path:
        networks.append(network)
        folder.mkdir()
        path = folder / f"model.{form}"
        path.write_text(json.dumps(dict(facts)))
        return path

    monkeypatch.setattr(console, "width", 500)
    monkeypatch.setattr(export, "export", write)
    return networks


def same(network: Restorer, folder: Path) -> bool:
    expected = load_model(folder)[0].state_dict()
    return all(value.equal(expected[name]) for name, value in network.state_dict().items())


def test_a_registered_version_is_exported_with_its_number_and_digest(
    models: Registry, exported: list[Restorer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export.run("models:/rain@champion", tmp_path / "out", "pt2", Settings())
    digest = file_digest(models.folders[0] / WEIGHTS)
    assert json.loads((tmp_path / "out/model.pt2").read_text()) == {"model": "rain", "version": "1", "sha256": digest}
    assert same(exported[0], models.folders[0])
    assert f"models:/rain@champion as {tmp_path / 'out/model.pt2'}" in capsys.readouterr().out


def test_a_model_folder_is_exported_with_its_own_digest(models: Registry, exported: list[Restorer], tmp_path: Path) -> None:
    export.run(str(models.folders[1]), tmp_path / "out", "onnx", Settings())
    digest = file_digest(models.folders[1] / WEIGHTS)
    assert json.loads((tmp_path / "out/model.onnx").read_text()) == {"model": str(models.folders[1]), "sha256": digest}
    assert same(exported[0], models.folders[1])


def test_the_reference_is_exported_with_its_version_and_digest(
    exported: list[Restorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reference").write_bytes(b"")  # a file of this name would be ./reference
    export.run("reference", tmp_path / "out", "onnx", Settings())
    card = reference_card()
    facts = {"model": "reference", "version": card.version, "sha256": card.sha256}
    assert json.loads((tmp_path / "out/model.onnx").read_text()) == facts
    assert exported[0].config == card.network
    assert not (tmp_path / "mlflow.db").exists()


def test_published_weights_are_exported_with_their_digest(exported: list[Restorer], tmp_path: Path) -> None:
    file, network = tmp_path / "prenet.pth", PReNet(PReNetConfig(width=2))
    torch.save({"state_dict": network.state_dict()}, file)
    export.run(str(file), tmp_path / "out", "pt2", Settings())
    assert json.loads((tmp_path / "out/model.pt2").read_text()) == {"model": str(file), "sha256": file_digest(file)}
    assert all(value.equal(network.state_dict()[name]) for name, value in exported[0].state_dict().items())


def test_a_file_of_no_weights_is_not_exported(exported: list[Restorer], tmp_path: Path) -> None:
    (tmp_path / "prenet.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"prenet\.pth: not weights that can be read \(zero bytes\)"):
        export.run(str(tmp_path / "prenet.pth"), tmp_path / "out", "pt2", Settings())
    assert exported == []


def test_an_existing_folder_is_never_overwritten(exported: list[Restorer], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is there already; name another folder or remove it"):
        export.run("models:/rain/1", tmp_path, "pt2", Settings())
    assert exported == []


def test_a_model_that_does_not_exist_leaves_no_folder(models: Registry, exported: list[Restorer], tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="^9: no version or alias of 'rain'"):
        export.run("models:/rain/9", tmp_path / "out", "pt2", Settings())
    with pytest.raises(CheckpointError, match="no such model folder"):
        export.run(str(tmp_path / "none"), tmp_path / "out", "pt2", Settings())
    assert not (tmp_path / "out").exists()
