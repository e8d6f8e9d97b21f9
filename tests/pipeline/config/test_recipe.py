"""The recipe: networks, limits, overrides, fingerprints and flat names."""

from __future__ import annotations

import pytest

from pipeline.config.params import Params
from pipeline.config.recipe import fingerprint, flatten, trial_params, with_overrides
from rdmc.errors import ConfigError
from rdmc.models.baselines import PReNetConfig, UNetConfig


def test_loss_levels_are_limited_by_the_network_or_vgg19(params: Params) -> None:
    small = {"network": {"kind": "prenet"}, "loss.levels": 2}
    with pytest.raises(ConfigError, match="^overrides: loss.levels: 2 exceeds the 1 levels that the network has; lower it$"):
        with_overrides(params, small)
    vgg19 = {"loss.vgg19_weights": "/vgg19.pth", "loss.features": "vgg19"}
    assert with_overrides(params, {**small, **vgg19}).loss.needs_vgg19
    assert with_overrides(params, {**small, "loss.contrastive": 0.0}).loss.levels == 2


def test_network_kind_alone_changes_the_network(params: Params) -> None:
    for kind, config in (("prenet", PReNetConfig()), ("unet", UNetConfig()), ("rdmc", params.network)):
        other = with_overrides(params, {"network.kind": kind})
        assert other.network == config, "params.yaml has the baselines' defaults, and RDMC's shape does not touch them"
        assert flatten(other)["network.kind"] == kind
        assert flatten(other)["network.width"] == config.width
        assert not [key for key in flatten(other) if key.startswith(("network.prenet", "network.unet"))]
        assert with_overrides(other, {"network.kind": "rdmc"}) == params, "no param is lost"
    assert with_overrides(params, {"network.kind": "unet", "network.unet.width": 4}).network == UNetConfig(width=4)


def test_an_override_must_name_a_param(params: Params) -> None:
    assert with_overrides(params, {"train.lr": 0.5}).train.lr == 0.5
    for key in ("train.speed", "nothing.lr", "seed.lr"):
        with pytest.raises(ConfigError, match="no such param"):
            with_overrides(params, {key: 1})


def test_flatten_gives_dotted_plain_values(params: Params) -> None:
    flat = flatten(params)
    assert flat["train.lr"] == params.train.lr
    assert flat["datasets.light.rain"] == "light"
    assert "register.model" in flat


def test_a_trial_is_short_and_warms_up_for_at_most_a_tenth(params: Params) -> None:
    short = trial_params(params, 20, {"train.lr": 0.5})
    assert (short.train.steps, short.train.warmup_steps, short.train.lr) == (20, 2, 0.5)
    assert trial_params(params, 1100, {}).train.warmup_steps == params.train.warmup_steps == 50


def test_the_fingerprint_changes_with_what_it_includes_and_nothing_else(params: Params) -> None:
    include = {"seed": True, "train": {"lr"}}
    first = fingerprint(params, include, "a")
    assert len(first) == 64
    assert fingerprint(with_overrides(params, {"train.clip_norm": 2.0, "network.unet.width": 4}), include, "a") == first
    changed = [with_overrides(params, change) for change in ({"seed": 1}, {"train.lr": 1.0}, {"network.width": 4})]
    assert len({first, fingerprint(params, include, "b"), *(fingerprint(one, include, "a") for one in changed)}) == 5
