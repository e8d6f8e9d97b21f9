"""The recipe: its learning rate, and values that it refuses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from rdmc.errors import ConfigError
from rdmc.training.config import TrainConfig, learning_rate


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, lr=1.0)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert all(a >= b for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize(
    "field", [{"steps": 0}, {"crop": 8}, {"lr": 0.0}, {"warmup_steps": 1001}, {"ema_decay": 1.0}, {"precision": "fp8"}]
)
def test_a_wrong_value_is_refused_by_name(field: dict[str, Any]) -> None:
    name, value = next(iter(field.items()))
    with pytest.raises(ConfigError, match=rf"^train\.{name}: .*{value}"):
        TrainConfig(**field)
