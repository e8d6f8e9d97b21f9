"""Values that a recipe refuses."""

from __future__ import annotations

from typing import Any

import pytest

from rdmc.errors import ConfigError
from rdmc.training.config import TrainConfig


@pytest.mark.parametrize(
    "field",
    [
        {"steps": 0},
        {"crop": 8},
        {"lr": 0.0},
        {"warmup_steps": 1001},
        {"ema_decay": 1.0},
        {"precision": "fp8"},
        {"optimiser": "sgd"},
    ],
)
def test_a_wrong_value_is_refused_by_name(field: dict[str, Any]) -> None:
    name, value = next(iter(field.items()))
    with pytest.raises(ConfigError, match=rf"^train\.{name}: .*{value}"):
        TrainConfig(**field)
