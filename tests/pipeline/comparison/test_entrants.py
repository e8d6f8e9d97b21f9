"""The models that a user names for a comparison, and names that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.comparison.entrants import entrants
from pipeline.config.settings import Settings
from rdmc.checkpoint import WEIGHTS, write_model
from rdmc.errors import CheckpointError, ConfigError, DataError, MissingError
from rdmc.files import file_digest, new_folder
from rdmc.models.baselines import PReNet, PReNetConfig
from tests.support.comparison import save_outputs, small_network
from tests.support.data import scene
from tests.support.followed import Registry


def write_small_model(folder: Path, seed: int = 0) -> Path:
    network = small_network(seed)
    with new_folder(folder) as made:
        write_model(made, network.config, network.state_dict(), {"step": 1})
    return folder


def test_every_form_of_a_name(tmp_path: Path) -> None:
    folder, run = write_small_model(tmp_path / "model"), tmp_path / "runs/x"
    write_small_model(run / "checkpoints/best", 1)
    wrapped = {f"module.{name}": tensor for name, tensor in PReNet(PReNetConfig(width=2)).state_dict().items()}
    torch.save({"state_dict": wrapped, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, tmp_path / "net.pth")
    saved = save_outputs(tmp_path / "method", [scene(0)])
    names = ["reference", str(folder), str(run), f"prenet:{tmp_path}/net.pth", f"outputs:{saved}"]
    found = entrants(names, Settings())
    labels = ["reference", str(folder), str(run / "checkpoints/best"), "net", "outputs method", "rainy"]
    assert [one.label for one in found] == labels, "rainy takes part although nobody named it"
    assert found[1].digest == file_digest(folder / WEIGHTS)
    assert [one.network is not None for one in found] == [True] * 4 + [False] * 2
    assert found[0].cost
    assert found[0].cost.parameters > 100_000
    assert found[-1].cost is None


def test_a_self_ensemble_is_another_model_of_eight_times_the_cost(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model")
    one, eight, _ = entrants([str(folder), f"x8:{folder}"], Settings())
    assert (eight.label, eight.digest) == (f"{folder} x8", f"{one.digest} x8")
    assert one.cost
    assert eight.cost
    assert eight.cost.parameters == one.cost.parameters
    assert eight.cost.gflop == pytest.approx(8 * one.cost.gflop)


def test_equal_labels_are_told_apart_and_a_model_named_twice_takes_part_once(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        torch.save(PReNet(PReNetConfig(width=2)).state_dict(), tmp_path / folder / "net.pth")
        names.append(f"prenet:{tmp_path}/{folder}/net.pth")
    found = entrants([*names, names[0], "rainy"], Settings())
    assert [one.label for one in found] == [f"net ({name})" for name in names] + ["rainy"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none", ConfigError, "none: no such model; name models:/NAME@ALIAS"),
        (".", ConfigError, "no model in this folder"),
        ("prenet:none.pth", ConfigError, "prenet:none.pth: no such file"),
        ("prenet:text", CheckpointError, "text: not weights that can be read"),
        ("outputs:none", DataError, "no such folder"),
        ("x8:rainy", ConfigError, "x8:rainy: x8: needs a network"),
        ("x8:x8:reference", ConfigError, "needs a network that is turned once"),
        ("models:/rain", MissingError, "names no model"),
    ],
)
def test_what_is_no_model_is_one_line(
    name: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("weights")
    with pytest.raises(error, match=message) as caught:
        entrants(["rainy", name], Settings())
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_registered_model_and_an_alias_that_does_not_exist(models: Registry) -> None:
    found = entrants(["models:/rain@champion", "models:/rain/2"], Settings())
    assert [one.label for one in found] == ["rain 1", "rain 2", "rainy"]
    with pytest.raises(MissingError, match="king: no version or alias of 'rain'") as caught:
        entrants(["models:/rain@king"], Settings())
    assert "\n" not in str(caught.value)


def test_no_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="no model is named"):
        entrants([], Settings())
