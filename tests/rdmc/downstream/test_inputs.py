"""The input of a network: shape, padding, values and channels, and the way back of its boxes."""

from __future__ import annotations

import numpy as np
import pytest

from rdmc.downstream.inputs import GREY, InputRule


def picture(height: int, width: int) -> np.ndarray:
    found = np.zeros((height, width, 3), np.uint8)
    found[..., 0], found[..., 1], found[..., 2] = 200, 100, 50
    return found


def test_an_image_keeps_its_shape_and_the_rest_is_grey() -> None:
    rule = InputRule(64, 64)
    found = rule.prepare(picture(100, 200))
    assert found.shape == (3, 64, 64)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :32].mean((1, 2)), np.array([200, 100, 50]) / 255, rtol=1e-5)
    np.testing.assert_allclose(found[:, 32:], GREY / 255, rtol=1e-5)
    assert rule.scale(picture(100, 200)) == (0.32, 0.32)


def test_a_stretched_image_fills_the_input() -> None:
    rule = InputRule(64, 64, stretch=True)
    assert rule.scale(picture(100, 200)) == (0.32, 0.64)
    np.testing.assert_allclose(rule.prepare(picture(100, 200))[0], 200 / 255, rtol=1e-5)


@pytest.mark.parametrize("stretch", [False, True])
def test_a_spot_lands_where_the_scale_says(stretch: bool) -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    image[60:70, 120:130] = 255
    rule = InputRule(96, 96, stretch=stretch)
    across, down = rule.scale(image)
    y, x = np.argwhere(rule.prepare(image)[0] > 0.9).mean(0) + 0.5
    assert abs(x - 125 * across) < 1
    assert abs(y - 65 * down) < 1


def test_values_and_channels() -> None:
    image = picture(32, 32)
    np.testing.assert_allclose(InputRule(32, 32, "bytes").prepare(image)[:, 0, 0], [200, 100, 50])
    np.testing.assert_allclose(InputRule(32, 32, "bytes", bgr=True).prepare(image)[:, 0, 0], [50, 100, 200])
    expected = (np.array([200, 100, 50]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(InputRule(32, 32, "imagenet").prepare(image)[:, 0, 0], expected, rtol=1e-5)
