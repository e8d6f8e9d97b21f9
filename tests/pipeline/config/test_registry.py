"""The register and gate sections: valid names, two aliases, and ranges."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.params import Params
from pipeline.config.recipe import with_overrides
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
    ],
)
def test_a_bad_value_is_refused_in_one_line(params: Params, key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        with_overrides(params, {key: value})
    assert "\n" not in str(caught.value)


def test_other_names_are_accepted(params: Params) -> None:
    names = with_overrides(params, {"register.model": "Rain_2.0", "register.alias": "newest-1"}).register_
    assert (names.model, names.alias, names.champion) == ("Rain_2.0", "newest-1", "champion")
