"""The values that the processes of a server exchange survive the way between processes."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from pipeline.serving.requests import RequestLimits
from pipeline.serving.types import Answer, ModelStatus, ServingConfig

CONFIG = ServingConfig("models:/rain@champion", "127.0.0.1", 8000, 1024, 1, 8, 5.0, RequestLimits(), Path("cache"))
STATUS = ModelStatus("rain", "1", "")


@pytest.mark.parametrize("value", [CONFIG, STATUS, Answer(b"a png", 200, STATUS, 0.5, 2, 100)], ids=lambda v: type(v).__name__)
def test_a_value_is_equal_after_pickling(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_the_configuration_cannot_change_while_it_is_served() -> None:
    with pytest.raises(FrozenInstanceError):
        CONFIG.port = 1  # type: ignore[misc]


def test_an_error_needs_no_figures() -> None:
    answer = Answer(b"not an image", 422, STATUS)
    assert (answer.seconds, answer.together, answer.pixels) == (0.0, 1, 0)
