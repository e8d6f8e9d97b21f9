"""The one-line error for each way in which data can break a section's rules."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import Field, Tag, model_validator

from pipeline.config.schema import Strict, by_keys, parse
from rdmc.errors import ConfigError


class Circle(Strict):
    radius: float


class Box(Strict):
    width: float
    height: float


class Drawing(Strict):
    count: int = Field(ge=1)
    shape: Annotated[Annotated[Circle, Tag("Circle")] | Annotated[Box, Tag("Box")], by_keys(Circle, Box)] = Circle(radius=1)
    size: tuple[int, int] = (1, 1)

    @model_validator(mode="after")
    def _is_small(self) -> Drawing:
        if self.count > 9:
            raise ConfigError("count: is above 9; lower it")
        if self.size == (0, 0):
            raise ValueError("size is empty")
        return self


LOOP: dict[str, Any] = {"count": 1}
LOOP["again"] = LOOP


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "is empty; write the params that pipeline/config/params.py describes"),
        ([1], "is a list, not a map of params; write the params that pipeline/config/params.py describes"),
        ({}, "count: missing; add it (pipeline/config/params.py describes every param)"),
        ({"count": 1, "cuont": 2}, "cuont: unknown key; remove it or fix its spelling"),
        ({"count": "1"}, "count: '1': Input should be a valid integer; fix it there"),
        ({"count": True}, "count: True: Input should be a valid integer; fix it there"),
        ({"count": 0}, "count: 0: Input should be greater than or equal to 1; fix it there"),
        ({"count": 1, "size": [1]}, "size.1: missing; add it (pipeline/config/params.py describes every param)"),
        ({"count": 10}, "count: is above 9; lower it"),
        ({"count": 1, "size": [0, 0]}, "size is empty; fix it there"),
        ({"count": date(2020, 1, 1)}, "holds what params cannot (Object of type date is not JSON serializable)"),
        (LOOP, "holds what params cannot (Circular reference detected); use numbers, strings, lists and maps"),
    ],
)
def test_the_error_is_one_line_with_source_key_value_and_rule(data: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Drawing, data, "x.yaml")
    text = str(caught.value)
    assert text.startswith("x.yaml: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"width": 1}, "height: missing"),
        ({"radius": 1, "width": 1}, "width: unknown key"),
        ({"side": 1}, "Input should be a map with radius, or width and height"),
        (3, "Input should be a map with radius, or width and height"),
    ],
)
def test_the_error_in_a_union_is_about_the_member_with_most_keys(shape: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"x.yaml: shape.*{message}"):
        parse(Drawing, {"count": 1, "shape": shape}, "x.yaml")


def test_a_list_is_read_as_a_tuple_and_the_result_cannot_change() -> None:
    drawing = parse(Drawing, {"count": 2, "size": [3, 4], "shape": {"width": 1, "height": 2}}, "x.yaml")
    assert (drawing.size, drawing.shape) == ((3, 4), Box(width=1, height=2))
    with pytest.raises(ValueError, match="frozen"):
        drawing.count = 3  # type: ignore[misc]


def test_a_value_that_comes_from_no_file_is_fixed_in_params_yaml() -> None:
    with pytest.raises(
        ConfigError, match="^overrides: count: 0: Input should be greater than or equal to 1; fix it in params.yaml"
    ):
        parse(Drawing, {"count": 0}, "overrides")
    with pytest.raises(ConfigError, match="^mine.yml: count: 0: .*; fix it there"):
        parse(Drawing, {"count": 0}, "mine.yml")


@pytest.mark.parametrize(("key", "shown"), [(800, "800: a name that YAML reads as int"), (True, "True: "), (1.5, "1.5: ")])
def test_a_dataset_whose_name_is_no_string_is_refused(key: object, shown: str) -> None:
    with pytest.raises(ConfigError, match=f"params.yaml: datasets: {shown}.*; write it in quotes"):
        parse(Box, {"datasets": {key: {}}}, "params.yaml")
    with pytest.raises(ConfigError, match=f"params.yaml: train: weights: {shown}.*; write it in quotes"):
        parse(Box, {"train": {"weights": {key: 2}}}, "params.yaml")
    with pytest.raises(ConfigError, match=f"params.yaml: {shown}.*; write it in quotes"):
        parse(Box, {key: 2}, "params.yaml")
