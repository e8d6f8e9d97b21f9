"""The scatter plot: a point for each image at its place, with its name."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from pipeline.evaluation.evaluator import ImageResult
from pipeline.evaluation.report.scatter import BOTTOM, EDGE, HEIGHT, LEFT, WIDTH, scatter

NAME = "{http://www.w3.org/2000/svg}"


def result(image: str, rainy: float, gain: float) -> ImageResult:
    return ImageResult("light", image, 8, 8, {"psnr_y": rainy}, {"psnr_y": rainy + gain}, 0.1, "", "CPU")


def test_points_are_in_order_and_inside_the_axes() -> None:
    made = scatter([result("a<b", 20, 3), result("c", 25, -1), result("d", 22.5, 0)])
    root = ElementTree.fromstring(made)  # noqa: S314  our own text
    points = [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in root.iter("circle")]
    (x_a, y_a), (x_c, y_c), (x_d, y_d) = points
    assert x_a < x_d < x_c
    assert y_a < y_d < y_c, "up is better"
    assert x_d == pytest.approx((x_a + x_c) / 2, abs=0.1)
    assert all(LEFT <= x <= WIDTH - EDGE and EDGE <= y <= HEIGHT - BOTTOM for x, y in points)
    assert [one.attrib.get("class") for one in root.iter("circle")] == [None, "worse", None]
    assert "light/a&lt;b: +3.00 dB from 20.00 dB" in made
    zero = next(one for one in root.iter("line") if one.attrib.get("class") == "zero")
    assert float(zero.attrib["y1"]) == pytest.approx(y_d, abs=0.1)


@pytest.mark.parametrize("gains", [[0.0], [1e-9, 0.0], [500.0, -70.0]])
def test_any_range_has_axes(gains: list[float]) -> None:
    made = scatter([result(str(number), 30.0, gain) for number, gain in enumerate(gains)])
    assert len(re.findall("<circle", made)) == len(gains)
    assert "nan" not in made
    assert 3 <= made.count('text-anchor="end"') <= 14
