"""The sweep's space: the order of its params, its conditions, and its limits."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.params import Params
from pipeline.config.recipe import with_overrides
from pipeline.config.tune import Choice, Integer, Space, Uniform, example, holds, ordered, same
from rdmc.errors import ConfigError

SPACE: Space = {
    "loss.temperature": Uniform(uniform=(0.1, 0.2), when={"loss.prior": "infonce"}),
    "loss.prior": Choice(choice=["ratio", "infonce"], when={"loss.contrastive": [True, 2]}),
    "loss.contrastive": Choice(choice=[True, 2, 3]),
    "train.crop": Integer(integer=(16, 32)),
}


def test_a_param_follows_those_that_its_condition_names() -> None:
    order = ordered(SPACE)
    assert sorted(order) == sorted(SPACE)
    assert order.index("loss.contrastive") < order.index("loss.prior") < order.index("loss.temperature")


def test_true_and_1_are_different_values() -> None:
    assert same(1, 1.0)
    assert same(True, True)
    assert not same(True, 1)


def test_a_condition_holds_for_any_of_its_values() -> None:
    assert holds(SPACE["train.crop"], {})
    for value, expected in ((True, True), (2, True), (3, False), (1, False)):
        assert holds(SPACE["loss.prior"], {"loss.contrastive": value}) is expected
    assert not holds(SPACE["loss.prior"], {}), "a param that is not searched fulfils no condition"


def test_an_example_holds_every_condition() -> None:
    assert example("loss.temperature", 0.1, SPACE) == {
        "loss.contrastive": True,
        "loss.prior": "infonce",
        "loss.temperature": 0.1,
    }


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"train.lr": 1}, "loss.ssim.when.train.lr: train.lr is not searched; add it to tune.space, or drop the condition"),
        ({"train.crop": 16}, "train.crop is no choice, and a condition needs one; make it a choice, or drop the condition"),
        ({"loss.prior": "l2"}, r"'l2' is none of \['ratio', 'infonce'\], so it never holds; fix the value"),
        ({"loss.prior": []}, "an empty list is none of"),
        ({"loss.ssim": 0.0}, r"conditions go round \(loss.ssim needs loss.ssim\); drop one of them"),
    ],
)
def test_an_impossible_condition_is_refused(when: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ordered({**SPACE, "loss.ssim": Choice(choice=[0.0, 1.0], when=when)})


def test_contradictory_conditions_are_refused() -> None:
    contrary = Choice(choice=[8], when={"loss.temperature": 0.1, "loss.contrastive": 3})
    space: Space = {**SPACE, "loss.temperature": Choice(choice=[0.1], when={"loss.prior": "infonce"}), "loss.patches": contrary}
    with pytest.raises(ConfigError, match="loss.patches.when: no trial has all that it asks for, so it is never searched; fix"):
        example("loss.patches", 8, space)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tune.objectives", ["gflop"], r"Objectives should be \[psnr_y\] or \[psnr_y, gflop\]"),
        ("tune.algorithm", "grid", "tune.algorithm: 'grid'"),
        ("tune.grace_steps", 10**6, "grace_steps 1000000 exceeds steps"),
        ("tune.pbt.quantile", 0.6, "tune.pbt.quantile: 0.6"),
        ("tune.space", {}, "tune.space: {}"),
    ],
)
def test_a_bad_value_is_refused(params: Params, key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_overrides(params, {key: value})
