"""Genotypes: a derived network equals the larger one with strengths of zero, and JSON is read strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rdmc.checkpoint import load_weights
from rdmc.errors import CheckpointError, ConfigError
from rdmc.models.baselines import UNetConfig
from rdmc.models.cost import Cost, cost
from rdmc.models.genotype import GENOTYPE, Genotype, derive, genotype_of, narrowed, read_genotype
from rdmc.models.rdmc import CONNECTIONS, RDMC, RDMCConfig
from tests.support.imports import ROOT

CONFIG = RDMCConfig(width=2, passes=2)
STRENGTHS = dict(zip(CONNECTIONS, (0.1, -0.9, 0.3, -0.2, 0.8, 0.05, -0.7, 0.0), strict=True))
ALL = Genotype(CONNECTIONS, "mix")


def searched(config: RDMCConfig = CONFIG, mix: tuple[float, float] = (-0.4, 0.3)) -> RDMC:
    """Return a network with distinct strengths and a mix, and with running statistics that have moved."""
    torch.manual_seed(3)
    network = RDMC(config)
    with torch.no_grad():
        for name, strength in network.strength.items():
            strength.fill_(STRENGTHS[name])
        network.get_parameter("head.weight").normal_()
        if config.upsample == "mix":
            network.upsample.mix.copy_(torch.tensor(mix))
    if config.norm == "batch":
        network(torch.rand(2, 3, 32, 32))
    return network.eval()


def without_removed(network: RDMC, kept: RDMCConfig) -> RDMC:
    """The reference: the whole network, with the removed strengths set to zero and the mix set to one kind."""
    with torch.no_grad():
        for name, strength in network.strength.items():
            if name not in kept.connections:
                strength.zero_()
        one_hot = {"bilinear": (200.0, 0.0), "bicubic": (0.0, 200.0)}
        if network.upsample.kind == "mix":
            network.upsample.mix.copy_(torch.tensor(one_hot[kept.upsample]))
    return network


@pytest.mark.parametrize("keep", [0, 1, 3, 8])
@pytest.mark.parametrize(("mix", "upsample"), [((-0.4, 0.3), "bicubic"), ((0.3, -0.4), "bilinear"), ((0.2, 0.2), "bilinear")])
def test_derive_keeps_only_the_strongest_and_one_upsampling(keep: int, mix: tuple[float, float], upsample: str) -> None:
    config, weights = derive(CONFIG, searched(mix=mix).state_dict(), keep)
    ranked = ["enc1->dec2", "enc4->dec3", "enc2->dec1", "enc2->dec3", "enc3->dec4", "input->dec1", "enc3->dec2", "enc1->output"]
    assert config == replace(CONFIG, connections=tuple(n for n in CONNECTIONS if n in ranked[:keep]), upsample=upsample)
    assert {name for name in weights if name.startswith("strength.")} == {f"strength.{name}" for name in ranked[:keep]}
    assert "upsample.mix" not in weights


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize(("height", "width"), [(32, 48), (70, 150)])
def test_a_derived_network_equals_the_whole_one_without_the_removed_parts(norm: str, height: int, width: int) -> None:
    full = searched(replace(CONFIG, norm=norm))
    config, weights = derive(full.config, full.state_dict(), 3)
    derived = RDMC(config).eval()
    load_weights(derived, weights, Path("derived"))
    image = torch.rand(1, 3, height, width)
    with torch.no_grad():
        before, got = full(image), derived(image)
        expected = without_removed(full, config)(image)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert (before - expected).abs().max() > 1e-3, "the removed parts had no effect, so the comparison is void"


def test_derive_of_a_fixed_upsampling_keeps_it() -> None:
    config = replace(CONFIG, upsample="bicubic", connections=("enc1->dec2", "enc3->dec2"))
    assert derive(config, searched(config).state_dict(), 1)[0] == replace(config, connections=("enc1->dec2",))


def test_equal_strengths_are_kept_in_order() -> None:
    network = searched()
    with torch.no_grad():
        for sign, strength in zip((1, -1) * 4, network.strength.values(), strict=True):
            strength.fill_(sign * 0.25)
    assert derive(CONFIG, network.state_dict(), 3)[0].connections == CONNECTIONS[:3]


def test_derive_refuses_weights_that_do_not_fit() -> None:
    weights = searched().state_dict()
    with pytest.raises(ConfigError, match=r"search\.keep: 9 is not within 0 to the 8"):
        derive(CONFIG, weights, 9)
    with pytest.raises(CheckpointError, match="unknown tensor 'other'"):
        derive(CONFIG, {**weights, "other": torch.zeros(1)}, 3)
    with pytest.raises(CheckpointError, match=r"missing tensor 'strength\.enc1->dec2'"):
        derive(CONFIG, {name: t for name, t in weights.items() if name != "strength.enc1->dec2"}, 3)
    with pytest.raises(CheckpointError, match="strength of enc1->dec2 is nan"):
        derive(CONFIG, {**weights, "strength.enc1->dec2": torch.tensor(float("nan"))}, 3)


def test_a_checkpoint_of_another_genotype_gives_a_one_line_error() -> None:
    config, weights = derive(CONFIG, searched().state_dict(), 3)
    other = replace(config, connections=("input->dec1", *config.connections))
    for network, found in ((RDMC(CONFIG), weights), (RDMC(config), searched().state_dict()), (RDMC(other), weights)):
        with pytest.raises(CheckpointError, match="another network's weights; .*architecture") as error:
            load_weights(network, found, Path("checkpoints/best"))
        assert "\n" not in str(error.value)


def test_cost_is_that_of_the_papers_network() -> None:
    """docs/decisions/0007: 94.6 GFLOP with all connections, 57.6 with none, at width 32 on 128 by 128 pixels."""
    full = RDMCConfig(norm="batch")
    found = cost(full, 128, 128)
    assert found.parameters == 19_804_954
    assert found.gflop == pytest.approx(94.6, abs=0.05)
    assert cost(replace(full, connections=()), 128, 128).gflop == pytest.approx(57.6, abs=0.05)
    small = replace(CONFIG, connections=("enc1->dec2",), upsample="bicubic")
    assert cost(small, 32, 32).parameters == sum(p.numel() for p in RDMC(small).parameters())


def test_a_genotype_states_what_was_searched_and_what_is_kept() -> None:
    full = searched()
    config, _ = derive(CONFIG, full.state_dict(), 2)
    found = genotype_of(RDMC(config), full)
    assert (found.connections, found.upsample) == (("enc1->dec2", "enc4->dec3"), "bicubic")
    assert found.strengths == pytest.approx(STRENGTHS)
    assert found.mix["bicubic"] == pytest.approx(1 / (1 + torch.tensor(-0.7).exp().item()))
    assert found.before == cost(CONFIG)
    assert found.after == cost(config)
    assert found.after.gflop < found.before.gflop
    assert Genotype.from_json(found.to_json(), "x") == found
    flat = found.flat()
    assert flat["cost.gflop_256x256"] == round(found.after.gflop, 4)
    assert flat["cost.before.gflop_256x256"] == round(found.before.gflop, 4)


def test_small_and_large_genotypes_are_read_as_written(tmp_path: Path) -> None:
    for found in (ALL, Genotype((), "bilinear", {"enc1->dec2": -0.5}, {"bilinear": 0.75, "bicubic": 0.25}, Cost(3, 1.5))):
        (tmp_path / GENOTYPE).write_text(found.to_json())
        assert read_genotype(tmp_path) == found
    assert read_genotype(ROOT / "architectures/full") == ALL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3}, "unknown field 'depth'"),
        ({"connections": None}, "connections is not a list"),
        ({"connections": ["enc1->dec2", 3]}, "connections is not a list of names"),
        ({"connections": ["enc1->moon"]}, "'enc1->moon' is not a connection"),
        ({"connections": ["enc1->dec2", "enc1->dec2"]}, "name one twice"),
        ({"upsample": "nearest"}, "upsample 'nearest' is not one of"),
        ({"upsample": 1}, "upsample not a name"),
        ({"strengths": {"enc1->dec2": "big"}}, "strengths is not a map of numbers"),
        ({"strengths": {"enc1->dec2": float("nan")}}, "NaN is not a number"),
        ({"strengths": {"enc1->moon": 0.5}}, "'enc1->moon' is not a connection"),
        ({"mix": {"nearest": 1.0}}, "mix of 'nearest'"),
        ({"mix": [0.5, 0.5]}, "mix is not a map of numbers"),
        ({"before": {"parameters": 1}}, "before is not a map of parameters and gflop"),
    ],
)
def test_wrong_json_gives_a_one_line_error(change: dict[str, Any], message: str) -> None:
    text = json.dumps({**json.loads(ALL.to_json()), **change})
    with pytest.raises(ConfigError, match=rf"^somewhere: .*{message}.*; make it with `make search`") as error:
        Genotype.from_json(text, "somewhere")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"), [("", "Expecting value"), ("[]", "is a list"), ("{}", "'connections' is missing")]
)
def test_json_that_is_not_a_genotype_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Genotype.from_json(text, "x")


def test_a_folder_without_a_genotype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"architecture: .*genotype\.json: no such file; make it with `make search`"):
        read_genotype(tmp_path)


def test_narrowing_a_config_to_a_genotype() -> None:
    few = Genotype(("enc1->dec2", "enc4->dec3"), "bicubic")
    assert narrowed(CONFIG, ALL) == CONFIG
    assert narrowed(CONFIG, few) == replace(CONFIG, connections=few.connections, upsample="bicubic")
    own = replace(CONFIG, connections=("input->dec1", "enc1->dec2"), upsample="bicubic")
    assert narrowed(own, ALL) == own
    assert narrowed(own, few) == replace(own, connections=("enc1->dec2",))
    with pytest.raises(ConfigError, match=r"network\.upsample is bilinear"):
        narrowed(replace(CONFIG, upsample="bilinear"), few)
    assert narrowed(UNetConfig(), ALL) == UNetConfig()
    with pytest.raises(ConfigError, match=r"network\.kind unet has no connections"):
        narrowed(UNetConfig(), few)
