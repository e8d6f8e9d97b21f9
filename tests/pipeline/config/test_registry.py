"""The register and gate sections: valid names, two aliases, and ranges."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.params import Params
from pipeline.config.recipe import with_overrides
from pipeline.config.registry import Gate
from rdmc.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("register.model", "-rdmc", "register.model: '-rdmc'"),
        ("register.alias", "champion", "register: .*alias and champion are both 'champion': give two different names"),
        ("register.champion", "Best", "register.champion: 'Best'"),
        ("gate.confidence", 0.4, "gate.confidence: 0.4"),
        ("gate.confidence", 1.0, "gate.confidence: 1.0"),
        ("gate.margin", -0.1, "gate.margin: -0.1"),
        ("gate.worst_share", 0.0, "gate.worst_share: 0.0"),
        ("gate.cost", 0.9, "gate.cost: 0.9"),
        ("gate.by", "dataset", "gate.by: 'dataset': Input should be 'scene' or 'image'"),
        ("gate.min_scenes", 1, "gate.min_scenes: 1"),
        ("gate.resamples", 99, "gate.resamples: 99"),
        ("gate.robustness.images", 7, "gate.robustness: .*images is 7: a bound needs at least 8; 0 turns the rule off"),
        ("gate.robustness.tolerance", -1.0, "gate.robustness.tolerance: -1.0"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(params: Params, key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        with_overrides(params, {key: value})
    assert "\n" not in str(caught.value)


def test_other_names_are_accepted(params: Params) -> None:
    names = with_overrides(params, {"register.model": "Rain_2.0", "register.alias": "newest-1"}).register_
    assert (names.model, names.alias, names.champion) == ("Rain_2.0", "newest-1", "champion")


def test_the_rule_on_robustness_is_off_unless_it_is_asked_for(params: Params) -> None:
    """Also in a file of params from before the rule, and then no verdict depends on it."""
    earlier = params.gate.model_dump(exclude={"robustness"})
    assert Gate.model_validate(earlier) == params.gate
    assert params.gate.robustness.images == 0
    assert params.gate.rules() == earlier
    on = with_overrides(params, {"gate.robustness.images": 8}).gate
    assert on.rules()["robustness"]["images"] == 8
